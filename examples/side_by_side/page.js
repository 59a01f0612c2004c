// Asks for two answers, shows both while they are written, and reports which the user prefers.
"use strict";

const EXPERIMENT = "support-assistant-pairs";
const messages = [];
let answerId = null;
let answers = ["", ""];

const element = (id) => document.getElementById(id);

function say(role, content) {
  messages.push({ role, content });
  const line = document.createElement("p");
  line.className = role;
  line.textContent = content;
  element("history").append(line);
}

async function post(path, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error((await response.json()).error.message);
  return response;
}

// The events of a stream; one event may arrive in several pieces, and several in one.
async function* events(response) {
  let rest = "";
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    const whole = (rest + piece).split("\n\n");
    rest = whole.pop();
    for (const event of whole) {
      const data = event.replace(/^data: /, "");
      if (data !== "[DONE]") yield JSON.parse(data);
    }
  }
}

async function ask(question) {
  say("user", question);
  answers = ["", ""];
  const body = { model: EXPERIMENT, messages, n: 2, stream: true };
  for await (const event of events(await post("/v1/chat/completions", body))) {
    if (event.error) throw new Error(event.error.message);
    answerId = event.id;
    for (const choice of event.choices) {
      answers[choice.index] += choice.delta.content ?? "";
      element(`answer-${choice.index}`).textContent = answers[choice.index];
      element("pair").hidden = false;
    }
  }
  // Only one answer: this request takes part in no comparison.
  if (answers[1] === "") goOnWith(0);
  else element("votes").hidden = false;
}

function goOnWith(index) {
  say("assistant", answers[index]);
  element("pair").hidden = true;
  element("votes").hidden = true;
  for (const each of [0, 1]) element(`answer-${each}`).textContent = "";
}

async function vote(preferred) {
  const reply = await post("/v1/feedback", { id: answerId, preferred });
  element("status").textContent = `Thank you. (${(await reply.json()).status})`;
  goOnWith(preferred === 1 ? 1 : 0);
}

function shown(work) {
  work.catch((error) => { element("status").textContent = error.message; });
}

element("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  shown(ask(element("question").value));
  element("question").value = "";
});

for (const button of document.querySelectorAll("#votes button")) {
  const { preferred } = button.dataset;
  button.addEventListener("click", () => shown(vote(/^\d$/.test(preferred) ? Number(preferred) : preferred)));
}
