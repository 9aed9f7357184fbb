// What a program does with the OpenAI SDK for Node, inside a sandbox. Prints one JSON object per turn.
//
//     node openai_turns.mjs NODE_MODULES chat stream tool ...
import { createRequire } from "node:module";

const [modules, ...turns] = process.argv.slice(2);
const { default: OpenAI } = createRequire(`${modules}/`)("openai");
const client = new OpenAI({
  baseURL: "https://inference.local/v1", apiKey: "unused", maxRetries: 0, timeout: 20000,
});
const model = "what-the-agent-asks-for";
const messages = [{ role: "user", content: "say something" }];
const tools = [{ type: "function", function: { name: "look", parameters: { type: "object" } } }];

const known = {
  async chat() {
    const answer = await client.chat.completions.create({ model, messages });
    return { text: answer.choices[0].message.content };
  },
  async stream() {
    let text = "", pieces = 0;
    for await (const chunk of await client.chat.completions.create({ model, messages, stream: true })) {
      text += chunk.choices[0]?.delta?.content ?? "";
      pieces += 1;
    }
    return { text, pieces };
  },
  async tool() {
    const asked = await client.chat.completions.create({ model, messages, tools });
    const said = asked.choices[0].message, [call] = said.tool_calls;
    const result = { role: "tool", tool_call_id: call.id, content: "42" };
    const answer = await client.chat.completions.create({ model, messages: [...messages, said, result], tools });
    return { name: call.function.name, args: JSON.parse(call.function.arguments), text: answer.choices[0].message.content };
  },
  async responses() {
    return { text: (await client.responses.create({ model, input: "p" })).output_text };
  },
  async embeddings() {
    const answer = await client.embeddings.create({ model, input: "p", encoding_format: "float" });
    return { vector: answer.data[0].embedding };
  },
  async images() {
    return { data: (await client.images.generate({ prompt: "p" })).data.length };
  },
};

for (const turn of turns) {
  let said;
  try {
    said = await known[turn]();
  } catch (error) {
    const { status, code, type, message } = error;
    said = { raised: error.constructor.name, status, code, type, message };
  }
  console.log(JSON.stringify({ turn, ...said }));
}
