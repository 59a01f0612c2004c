"""Ask an experiment through a LangChain chain, and report what the user thought of the answer."""

from __future__ import annotations

import os
import sys
import uuid

import httpx
from langchain_core.messages import AIMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI

URL = os.environ.get("LLMPO_URL", "http://127.0.0.1:8080") + "/v1"
KEY = os.environ.get("LLMPO_API_KEY", "none-needed")

model = ChatOpenAI(
    base_url=URL,
    api_key=KEY,
    model="support-assistant",
    default_headers={"x-session-id": f"conversation-{uuid.uuid4()}"},
)
chain = ChatPromptTemplate.from_messages([("user", "A customer asks: {question}")]) | model


def report(answer: AIMessage, *, pleased: bool) -> str:
    """Say whether the user liked an answer; what the gateway made of it."""
    said = {"id": answer.response_metadata["id"], "signal": "thumb", "value": pleased}
    reply = httpx.post(f"{URL}/feedback", json=said, headers={"authorization": f"Bearer {KEY}"})
    return str(reply.raise_for_status().json()["status"])


def main() -> None:
    """One question through the chain."""
    answer = chain.invoke({"question": " ".join(sys.argv[1:]) or "How do I descale my Luna 2?"})
    print(answer.content)
    print("feedback:", report(answer, pleased=True))


if __name__ == "__main__":
    main()
