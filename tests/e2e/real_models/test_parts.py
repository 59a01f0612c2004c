"""The parts of the stage do what the tests on it rest on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter

from tests.e2e.real_models.layers import drop_blocks
from tests.e2e.real_models.tasks import TASKS, last_letter, last_number
from tests.e2e.real_models.users import opinion


@pytest.fixture
def small_model(tmp_path: Path) -> Path:
    """A file of four blocks, each filled with its own number, between two other tensors."""
    file = tmp_path / "small.gguf"
    writer = GGUFWriter(file, "llama")
    writer.add_block_count(4)
    writer.add_token_list(["a", "b"])
    for name, value in (
        ("token_embd", 9),
        *((f"blk.{block}.attn_q", block) for block in range(4)),
        ("output", 8),
    ):
        writer.add_tensor(f"{name}.weight", np.full((2, 2), value, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def test_dropped_blocks_are_gone_and_the_rest_move_up(small_model: Path, tmp_path: Path) -> None:
    """What remains is numbered without a gap and otherwise unchanged."""
    drop_blocks(small_model, tmp_path / "cut.gguf", {0, 2})
    cut = GGUFReader(tmp_path / "cut.gguf")
    assert {tensor.name: tensor.data.max() for tensor in cut.tensors} == {
        "token_embd.weight": 9,
        "blk.0.attn_q.weight": 1,
        "blk.1.attn_q.weight": 3,
        "output.weight": 8,
    }
    assert cut.fields["llama.block_count"].contents() == 2
    assert cut.fields["tokenizer.ggml.tokens"].contents() == ["a", "b"]


def test_a_block_that_does_not_exist_cannot_be_dropped(small_model: Path, tmp_path: Path) -> None:
    """The number and the blocks there are, are named."""
    with pytest.raises(ValueError, match=r"4 blocks, from 0; not \[4\]"):
        drop_blocks(small_model, tmp_path / "cut.gguf", {3, 4})


@pytest.mark.parametrize(
    ("reply", "answer"),
    [("The answer is 126.", "126"), ("42 + 84 = 126", "126"), ("I cannot say.", ""), ("", "")],
)
def test_the_last_number_is_the_answer(reply: str, answer: str) -> None:
    """A worked sum ends in its result."""
    assert last_number(reply) == answer


@pytest.mark.parametrize(
    ("reply", "answer"),
    [('The second letter of "place" is "L."', "l"), ("It is a vowel.", ""), ("a word", ""), ("", "")],
)
def test_the_last_word_is_the_answer_where_it_is_a_letter(reply: str, answer: str) -> None:
    """An article in the middle of a sentence is no answer."""
    assert last_letter(reply) == answer


@pytest.mark.parametrize(
    ("right", "said"),
    [
        ((True,), {"signal": "thumb", "value": True}),
        ((False, True), {"preferred": 1}),
        ((True, True), {"preferred": "tie"}),
        ((False, False), {"preferred": "both_bad"}),
    ],
)
def test_marks_become_what_a_user_would_say(right: tuple[bool, ...], said: dict[str, object]) -> None:
    """One answer gets a thumb; two answers get the better one, a tie, or both bad."""
    assert opinion(right) == said


def test_each_task_has_a_hundred_different_items_with_one_answer_each() -> None:
    """Each task has as many items as the measured shares rest on."""
    for task in TASKS.values():
        assert len({item.text for item in task.items}) == len(task.items) == 100
        assert all(len(item.right) == 1 for item in task.items)
