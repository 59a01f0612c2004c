"""The simulated world: what users read is what models wrote, and the truth is known."""

from __future__ import annotations

import random

import pytest

from gateway.demo import world
from gateway.demo.checking import judge
from gateway.demo.scene import SUPPORT, TONE, SimulatedExperiment


def _answers(system: str, count: int, model: str = "sim-small") -> list[str]:
    rng = random.Random(7)
    return [world.write_answer(model, system, world.ask_question(rng), seed=1) for _ in range(count)]


def test_equal_prompts_get_equal_answers() -> None:
    """An answer depends on prompt and seed only."""
    prompt = ("sim-small", "Be warm.", "How do I descale my Brio?")
    assert world.write_answer(*prompt, seed=1) == world.write_answer(*prompt, seed=1)


def test_answers_follow_what_the_system_prompt_asks_for() -> None:
    """A model asked for numbered steps gives them about as often as its obedience says."""
    numbered = sum("1. " in answer for answer in _answers("Answer in numbered steps.", 1000))
    assert numbered / 1000 == pytest.approx(world.OBEDIENCE["sim-small"], abs=0.04)


@pytest.mark.parametrize("topic", world.TOPICS, ids=lambda topic: topic.question[:24])
def test_only_exact_actions_read_as_exact(topic: world.Topic) -> None:
    """A reader can tell exact from vague actions on every topic."""
    assert world.EXACT.seen_in.search(" ".join(topic.exact))
    assert not world.EXACT.seen_in.search(" ".join(topic.vague))


def test_every_text_a_model_can_write_shows_the_traits_it_was_given() -> None:
    """Reading an answer finds each trait at the rate the model shows it, so the enumerated truth is right."""
    system = "Answer in numbered steps with exact amounts, then ask whether it worked."
    answers = _answers(system, 2000)
    for trait in world.TRAITS:
        seen = sum(bool(trait.seen_in.search(answer)) for answer in answers) / len(answers)
        assert seen == pytest.approx(world.answer_rates("sim-small", system)[trait.name], abs=0.04), (
            trait.name
        )


def test_simulated_preferences_follow_the_true_matrix() -> None:
    """Users who only read texts prefer one policy to another as often as `preference_matrix` says."""
    mine, theirs = SUPPORT.policies[-1], SUPPORT.policies[-2]
    truth = world.preference_matrix([(mine.model, mine.system), (theirs.model, theirs.system)])[0][1]
    pairs = zip(
        _answers(mine.system, 4000, mine.model), _answers(theirs.system, 4000, theirs.model), strict=True
    )
    rng = random.Random(3)
    verdicts = [world.prefer(first, second, rng) for first, second in pairs]
    decisive = [verdict for verdict in verdicts if isinstance(verdict, int)]
    assert decisive.count(0) / len(decisive) == pytest.approx(truth, abs=0.03)


@pytest.mark.parametrize("experiment", [SUPPORT, TONE], ids=lambda experiment: experiment.name)
def test_the_best_policy_is_clear_and_does_not_serve_yet(experiment: SimulatedExperiment) -> None:
    """The best policy leads by a margin that a demo can prove, and another one serves."""
    matrix = world.preference_matrix([(policy.model, policy.system) for policy in experiment.policies])
    best = world.true_best(matrix)
    assert best is not None
    assert experiment.policies[best].name != experiment.incumbent
    assert min(share for column, share in enumerate(matrix[best]) if column != best) > 0.6


def test_cyclic_preferences_have_no_best() -> None:
    """If every policy loses to another one, there is no true best policy."""
    assert world.true_best([[0.5, 0.6, 0.4], [0.4, 0.5, 0.6], [0.6, 0.4, 0.5]]) is None


def test_the_judge_tells_right_from_wrong_promotions() -> None:
    """Only the simulation's own best passes."""
    assert judge(SUPPORT, "stepwise")[0]
    assert judge(SUPPORT, "bigger-model") == (False, "The simulation knows better: stepwise is the best.")
