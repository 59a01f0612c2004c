// What OpenAI's client for Node makes of a gateway, as one line of JSON. Arguments: base URL, model.
const OpenAI = require("openai");

const [baseURL, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "any", maxRetries: 0 });
const messages = [{ role: "user", content: "Hello?" }];

async function joined(stream, text) {
  let said = "";
  for await (const event of stream) said += text(event) ?? "";
  return said;
}

async function refusal(request) {
  try {
    await request;
    return null;
  } catch (error) {
    return { kind: error.constructor.name, status: error.status, code: error.code, requestId: error.requestID };
  }
}

// Leave after the first event, as a user does who closes the page.
async function leave() {
  const stream = await client.chat.completions.create({ model, messages, stream: true });
  for await (const _ of stream) break;
  return stream.controller.signal.aborted;
}

async function main() {
  const { data: whole, response } = await client.chat.completions.create({ model, messages }).withResponse();
  const chunks = await client.chat.completions.create({ model, messages, stream: true });
  const helper = client.chat.completions.stream({ model, messages });
  const responses = await client.responses.create({ model, input: "Hello?" });
  const events = await client.responses.create({ model, input: "Hello?", stream: true });
  return {
    whole: whole.choices[0].message.content,
    model: whole.model,
    id: whole.id,
    requestId: response.headers.get("x-request-id"),
    chunks: await joined(chunks, (chunk) => chunk.choices[0]?.delta.content),
    helper: (await helper.finalChatCompletion()).choices[0].message.content,
    usage: whole.usage,
    response: responses.output_text,
    events: await joined(events, (event) => (event.type === "response.output_text.delta" ? event.delta : "")),
    left: await leave(),
    unknown: await refusal(client.chat.completions.create({ model: "nobody", messages })),
    steering: await refusal(client.chat.completions.create({ model, messages, api_base: "http://evil" })),
  };
}

main().then((found) => console.log(JSON.stringify(found)));
