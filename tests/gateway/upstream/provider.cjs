// A provider over HTTP/2 that is not written with the gateway's own protocol library: `node provider.cjs`.
// Says its port, then one line for each connection, request and stream that was given up.
const http2 = require("http2");

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const choice = (model, text) => ({ id: "x", model, choices: [{ index: 0, message: { role: "assistant", content: text } }] });
const event = (model, text) => `data: ${JSON.stringify({ id: "x", model, choices: [{ index: 0, delta: { content: text } }] })}\n\n`;
const refused = new Set();

function answer(stream, asked) {
  const { model } = asked;
  if (model === "refused" && !refused.has(model)) {
    refused.add(model);
    stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
    return;
  }
  if (!asked.stream) {
    const body = JSON.stringify(choice(model, model === "long" ? "y".repeat(3_000_000) : `I am ${model}, ${asked.user?.length ?? 0}.`));
    stream.respond({ ":status": 200, "content-type": "application/json", "content-length": Buffer.byteLength(body) });
    stream.end(body);
    return;
  }
  stream.respond({ ":status": 200, "content-type": "text/event-stream; charset=utf-8" });
  stream.write(event(model, "one"));
  if (model === "endless") return;
  if (model === "leaves") stream.session.goaway();
  setTimeout(() => stream.end(event(model, "two") + "data: [DONE]\n\n"), 50);
}

const server = http2.createServer();
server.on("session", () => say({ connection: true }));
server.on("stream", (stream, headers) => {
  let body = "";
  stream.on("error", () => {});
  stream.on("aborted", () => say({ aborted: stream.rstCode }));
  stream.on("data", (data) => (body += data));
  stream.on("end", () => {
    say({ asked: headers[":path"], scheme: headers[":scheme"] });
    answer(stream, JSON.parse(body));
  });
});
server.listen(0, "127.0.0.1", () => say({ port: server.address().port }));
