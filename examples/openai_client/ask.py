"""Ask an experiment with OpenAI's client, and report what the user thought of the answers."""

from __future__ import annotations

import os
import sys

import openai

EXPERIMENT = "support-assistant"

client = openai.OpenAI(
    base_url=os.environ.get("LLMPO_URL", "http://127.0.0.1:8080") + "/v1",
    api_key=os.environ.get("LLMPO_API_KEY", "none-needed"),
)


def report(answer_id: str, *, pleased: bool) -> str:
    """Say whether the user liked an answer; what the gateway made of it."""
    said = {"id": answer_id, "signal": "thumb", "value": pleased}
    return str(client.post("/feedback", body=said, cast_to=dict[str, str])["status"])


def main() -> None:
    """One whole answer, and one streamed."""
    question = " ".join(sys.argv[1:]) or "How do I descale my Luna 2?"
    answer = client.chat.completions.create(
        model=EXPERIMENT, messages=[{"role": "user", "content": question}]
    )
    print(answer.choices[0].message.content)
    print("feedback:", report(answer.id, pleased=True))

    answer_id = ""
    for chunk in client.chat.completions.create(
        model=EXPERIMENT, messages=[{"role": "user", "content": question}], stream=True
    ):
        answer_id = chunk.id
        if chunk.choices:
            print(chunk.choices[0].delta.content or "", end="", flush=True)
    print("\nfeedback:", report(answer_id, pleased=False))


if __name__ == "__main__":
    main()
