// Shows answers, and reports what the user does about each: a thumb, a copy, or leaving without a word.
"use strict";

const EXPERIMENT = "support-assistant";
const unreported = new Set();

const element = (id) => document.getElementById(id);

async function post(path, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const reply = await response.json();
  if (!response.ok) throw new Error(reply.error.message);
  return reply;
}

async function ask(question) {
  const messages = [{ role: "user", content: question }];
  const reply = await post("/v1/chat/completions", { model: EXPERIMENT, messages });
  unreported.add(reply.id);
  show(question, reply.id, reply.choices[0].message.content);
}

function show(question, id, text) {
  const article = element("answer").content.firstElementChild.cloneNode(true);
  article.querySelector("h2").textContent = question;
  article.querySelector("pre").textContent = text;
  for (const button of article.querySelectorAll("button")) {
    const { signal, value } = button.dataset;
    button.addEventListener("click", async () => {
      if (signal === "copied") await navigator.clipboard.writeText(text).catch(() => {});
      const status = article.querySelector("small");
      try {
        unreported.delete(id);
        status.textContent = (await post("/v1/feedback", { id, signal, value: value === "true" })).status;
      } catch (error) {
        status.textContent = error.message;
      }
    });
  }
  element("answers").append(article);
}

// A beacon is sent even while the page goes away. Its answer cannot be read.
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState !== "hidden") return;
  for (const id of unreported) {
    const body = JSON.stringify({ id, signal: "abandoned", value: true });
    navigator.sendBeacon("/v1/feedback", new Blob([body], { type: "application/json" }));
  }
  unreported.clear();
});

element("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  element("status").textContent = "";
  ask(element("question").value).catch((error) => { element("status").textContent = error.message; });
  element("question").value = "";
});
