// What a program does with OpenAI's own client, unchanged. Prints one JSON; the Python test looks at it.
// Its base address and key come from OPENAI_BASE_URL and OPENAI_API_KEY, as they do everywhere.
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const wanted = { model: "demo", prompt: "a white house", size: "64x64", seed: 7 };

async function refused(call) {
  try {
    await call();
    return null;
  } catch (error) {
    return { name: error.constructor.name, status: error.status, code: error.code, param: error.param, type: error.type };
  }
}

const models = [];
for await (const model of client.models.list()) models.push(model);

const { data: whole, response } = await client.images.generate(wanted).withResponse();
const linked = await client.images.generate({ ...wanted, response_format: "url", n: 2 });
const fetched = await fetch(linked.data[0].url);

const events = [];
const stream = await client.images.generate({ ...wanted, stream: true, partial_images: 2 });
for await (const event of stream) events.push({ ...event, b64_json: event.b64_json.slice(0, 16) });

const bytes = Buffer.from(process.env.PICTURE, "base64");
const picture = () => new File([bytes], "a.png", { type: "image/png" });
const mask = new File([Buffer.from(process.env.MASK, "base64")], "m.png", { type: "image/png" });
const edited = await client.images.edit({ model: "demo", prompt: "a red house", image: picture(), mask, seed: 7 });
const several = await client.images.edit({ model: "editor", prompt: "both", image: [picture(), picture()] });
const changes = [];
const changing = await client.images.edit({ model: "demo", prompt: "x", image: picture(), stream: true });
for await (const event of changing) changes.push({ ...event, b64_json: event.b64_json.slice(0, 16) });

console.log(
  JSON.stringify({
    models,
    model: await client.models.retrieve("demo"),
    whole,
    limits: Object.fromEntries([...response.headers].filter(([name]) => name.startsWith("x-ratelimit-"))),
    linked: { count: linked.data.length, status: fetched.status, type: fetched.headers.get("content-type") },
    events,
    wrongSize: await refused(() => client.images.generate({ ...wanted, size: "63x63" })),
    noModel: await refused(() => client.images.generate({ ...wanted, model: "nobodys" })),
    edited,
    several: several.data.length,
    changes: changes.map((event) => event.type),
    noPicture: await refused(() =>
      client.images.edit({ model: "demo", prompt: "x", image: new File(["x"], "a.png", { type: "image/png" }) }),
    ),
    noKey: await refused(() => new OpenAI({ apiKey: "sk-wrong", maxRetries: 0 }).models.list()),
  }),
);
