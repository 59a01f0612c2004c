"""The parts of the stage hold what the promises above them rest on."""

from __future__ import annotations

from pathlib import Path

import pytest
from gguf import GGUFReader

from tests.e2e.real_models.layers import drop_blocks
from tests.e2e.real_models.stage import Models, weights
from tests.e2e.real_models.tasks import TASKS, last_letter, last_number
from tests.e2e.real_models.users import opinion

pytestmark = pytest.mark.real_models


def test_dropped_blocks_are_gone_and_the_rest_move_up(models: Models) -> None:
    """27 of 30 blocks remain, numbered without a gap; block 20 is what block 21 was; nothing else changes."""
    whole, cut = GGUFReader(weights()), GGUFReader(models.cut)
    tensors = {tensor.name: tensor.data for tensor in cut.tensors}
    originals = {tensor.name: tensor.data for tensor in whole.tensors}
    assert cut.fields["llama.block_count"].contents() == 27
    assert {int(name.split(".")[1]) for name in tensors if name.startswith("blk.")} == set(range(27))
    assert (tensors["blk.20.attn_q.weight"] == originals["blk.21.attn_q.weight"]).all()
    assert (tensors["token_embd.weight"] == originals["token_embd.weight"]).all()


def test_a_block_that_does_not_exist_cannot_be_dropped(tmp_path: Path) -> None:
    """The number and the blocks there are, are named."""
    with pytest.raises(ValueError, match=r"30 blocks, from 0; not \[30\]"):
        drop_blocks(weights(), tmp_path / "cut.gguf", {3, 30})


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
    """A thumb for one answer; for two the better one, a tie, or both bad."""
    assert opinion(right) == said


def test_each_task_has_a_hundred_different_items_with_one_answer_each() -> None:
    """As many as the measured shares are of."""
    for task in TASKS.values():
        assert len({item.text for item in task.items}) == len(task.items) == 100
        assert all(len(item.right) == 1 for item in task.items)
