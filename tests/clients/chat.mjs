// What a program does with OpenAI's own client, unchanged. Prints one JSON; the Python test looks at it.
// Its base address and key come from OPENAI_BASE_URL and OPENAI_API_KEY, as they do everywhere.
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const hello = { model: "chat", messages: [{ role: "user", content: "hello" }] };
const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object", properties: {} } } }];

async function refused(call) {
  try {
    await call();
    return null;
  } catch (error) {
    return { name: error.constructor.name, status: error.status ?? null, code: error.code, param: error.param };
  }
}

async function listen(fields) {
  const chunks = [];
  const stream = await client.chat.completions.create({ ...hello, ...fields, stream: true });
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const { data: whole, response } = await client.chat.completions.create(hello).withResponse();
const chunks = await listen({ stream_options: { include_usage: true } });
const runner = client.chat.completions.runTools({
  ...hello,
  messages: [{ role: "user", content: "weather" }],
  tools: [{ type: "function", function: { name: "weather", parameters: tools[0].function.parameters, parse: JSON.parse,
    function: ({ in: place }) => `rain in ${place}` } }],
});

console.log(
  JSON.stringify({
    whole,
    limits: [...response.headers].filter(([name]) => name.startsWith("x-ratelimit-")).length,
    words: chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""),
    usage: chunks.at(-1).usage,
    called: await runner.finalContent(),
    broken: await refused(() => listen({ messages: [{ role: "user", content: "break" }] })),
    noModel: await refused(() => client.chat.completions.create({ ...hello, model: "nobodys" })),
    tooLong: await refused(() =>
      client.chat.completions.create({ ...hello, messages: [{ role: "user", content: "x".repeat(100000) }] }),
    ),
  }),
);
