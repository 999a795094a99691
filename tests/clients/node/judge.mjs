// The official Node clients, told what to ask by lines of JSON on standard input; answers with a line each.
//
//   {"client": "openai" | "anthropic" | "openai-responses", "do": "ask", "model": "...", ...}
//   {"ok": {...}} or {"error": {"name", "message", "status", "headers"}}
//
// An answer is told in no dialect: {text, calls: [[name, arguments]], stop, tokens: [input, cached, output, reasoning]}.

import { createInterface } from "node:readline";
import Anthropic from "@anthropic-ai/sdk";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const [base, key] = process.argv.slice(2);
const SYSTEM = "You are terse.";
const QUESTION = "What is the weather in Bonn and Rome?";
const CITY = z.object({ city: z.string() });
const SCHEMA = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};

let headers = {}; // of the last answer
async function heard(url, init) {
  const answer = await fetch(url, init);
  headers = Object.fromEntries(answer.headers);
  return answer;
}
const options = { maxRetries: 0, timeout: 60_000, fetch: heard };
const openai = new OpenAI({ baseURL: `${base}/v1`, apiKey: key, ...options });
const patient = new OpenAI({ baseURL: `${base}/v1`, apiKey: key, ...options, maxRetries: 2 });
const anthropic = new Anthropic({ baseURL: base, apiKey: key, ...options });

const chat = {
  request(model, tools) {
    const row = {
      model,
      messages: [
        { role: "system", content: SYSTEM },
        { role: "user", content: QUESTION },
      ],
      max_tokens: 50,
    };
    if (tools) row.tools = [{ type: "function", function: { name: "weather", parameters: SCHEMA } }];
    return row;
  },
  async ask({ model, stream, tools }) {
    if (!stream) return chat.said(await openai.chat.completions.create(chat.request(model, tools)));
    let text = "";
    const events = openai.chat.completions.stream({ ...chat.request(model, tools), stream_options: { include_usage: true } });
    events.on("content", (delta) => (text += delta));
    const said = chat.said(await events.finalChatCompletion());
    return { ...said, streamed: text };
  },
  said(completion) {
    const [choice] = completion.choices;
    const stops = { stop: "stop", length: "length", tool_calls: "calls", content_filter: "refusal" };
    const usage = completion.usage;
    return {
      text: choice.message.content ?? choice.message.refusal ?? "",
      calls: (choice.message.tool_calls ?? []).map((call) => [call.function.name, JSON.parse(call.function.arguments)]),
      stop: choice.message.refusal ? "refusal" : stops[choice.finish_reason],
      tokens: [
        usage.prompt_tokens,
        usage.prompt_tokens_details?.cached_tokens ?? 0,
        usage.completion_tokens,
        usage.completion_tokens_details?.reasoning_tokens ?? 0,
      ],
    };
  },
  async loop({ model, stream }) {
    const asked = [];
    const tool = {
      type: "function",
      function: {
        name: "weather",
        parameters: SCHEMA,
        parse: JSON.parse,
        function: ({ city }) => {
          asked.push(city);
          return `It rains in ${city}.`;
        },
      },
    };
    const runner = openai.chat.completions.runTools({ ...chat.request(model, false), tools: [tool], stream });
    return { asked, text: await runner.finalContent() };
  },
  async parse({ model }) {
    const completion = await openai.chat.completions.parse({
      ...chat.request(model, false),
      response_format: zodResponseFormat(CITY, "city"),
    });
    return { parsed: completion.choices[0].message.parsed };
  },
  begin: (model) => openai.chat.completions.create({ ...chat.request(model, false), stream: true }),
};

const messages = {
  request(model, tools) {
    const row = { model, system: SYSTEM, messages: [{ role: "user", content: QUESTION }], max_tokens: 50 };
    if (tools) row.tools = [{ name: "weather", input_schema: SCHEMA }];
    return row;
  },
  async ask({ model, stream, tools }) {
    if (!stream) return messages.said(await anthropic.messages.create(messages.request(model, tools)));
    let text = "";
    const events = anthropic.messages.stream(messages.request(model, tools));
    events.on("text", (delta) => (text += delta));
    const said = messages.said(await events.finalMessage());
    return { ...said, streamed: text };
  },
  said(message) {
    const stops = { end_turn: "stop", max_tokens: "length", tool_use: "calls", refusal: "refusal" };
    const usage = message.usage;
    const read = usage.cache_read_input_tokens ?? 0;
    return {
      text: message.content.map((block) => (block.type === "text" ? block.text : "")).join(""),
      calls: message.content.filter((block) => block.type === "tool_use").map((block) => [block.name, block.input]),
      stop: stops[message.stop_reason],
      tokens: [
        usage.input_tokens + read + (usage.cache_creation_input_tokens ?? 0),
        read,
        usage.output_tokens,
        usage.output_tokens_details?.thinking_tokens ?? 0,
      ],
    };
  },
  async loop({ model, stream }) {
    const asked = [];
    const tool = betaZodTool({
      name: "weather",
      description: "The weather in a city",
      inputSchema: CITY,
      run: ({ city }) => {
        asked.push(city);
        return `It rains in ${city}.`;
      },
    });
    const runner = anthropic.beta.messages.toolRunner({ ...messages.request(model, false), tools: [tool], stream });
    if (stream) for await (const events of runner) await events.finalMessage();
    const last = await runner.runUntilDone();
    return { asked, text: messages.said(last).text };
  },
  async parse({ model }) {
    const message = await anthropic.messages.parse({
      ...messages.request(model, false),
      output_config: { format: zodOutputFormat(CITY) },
    });
    return { parsed: message.parsed_output };
  },
  begin: (model) => anthropic.messages.create({ ...messages.request(model, false), stream: true }),
};

const responses = {
  request(model, tools) {
    const row = { model, instructions: SYSTEM, input: QUESTION, max_output_tokens: 50 };
    if (tools) row.tools = [{ type: "function", name: "weather", parameters: SCHEMA, strict: true }];
    return row;
  },
  async ask({ model, stream, tools }) {
    if (!stream) return responses.said(await openai.responses.create(responses.request(model, tools)));
    let text = "";
    const events = openai.responses.stream(responses.request(model, tools));
    events.on("response.output_text.delta", (event) => (text += event.delta));
    const said = responses.said(await events.finalResponse());
    return { ...said, streamed: text };
  },
  said(response) {
    const parts = response.output.flatMap((item) => (item.type === "message" ? item.content : []));
    const calls = response.output.filter((item) => item.type === "function_call");
    const refused = parts.some((part) => part.type === "refusal");
    const cut = response.status === "incomplete" && response.incomplete_details.reason === "max_output_tokens";
    const usage = response.usage;
    return {
      text: parts.map((part) => (part.type === "refusal" ? part.refusal : part.text)).join(""),
      calls: calls.map((item) => [item.name, JSON.parse(item.arguments)]),
      stop: refused ? "refusal" : cut ? "length" : calls.length ? "calls" : "stop",
      tokens: [
        usage.input_tokens,
        usage.input_tokens_details.cached_tokens,
        usage.output_tokens,
        usage.output_tokens_details.reasoning_tokens,
      ],
    };
  },
  async loop({ model, stream }) {
    const asked = [];
    const input = [{ role: "user", content: QUESTION }];
    const row = { ...responses.request(model, true), input };
    for (;;) {
      const response = stream ? await openai.responses.stream(row).finalResponse() : await openai.responses.create(row);
      const calls = response.output.filter((item) => item.type === "function_call");
      if (!calls.length) return { asked, text: response.output_text };
      input.push(...response.output.map(({ parsed_arguments, ...item }) => item));
      for (const call of calls) {
        const { city } = JSON.parse(call.arguments);
        asked.push(city);
        input.push({ type: "function_call_output", call_id: call.call_id, output: `It rains in ${city}.` });
      }
    }
  },
  async parse({ model }) {
    const response = await openai.responses.parse({
      ...responses.request(model, false),
      text: { format: zodTextFormat(CITY, "city") },
    });
    return { parsed: response.output_parsed };
  },
  begin: (model) => openai.responses.create({ ...responses.request(model, false), stream: true }),
};

const speakers = { openai: chat, anthropic: messages, "openai-responses": responses };
const others = {
  async leave({ client, model }) {
    const stream = await speakers[client].begin(model);
    const id = headers["x-weighbridge-id"];
    for await (const _ of stream) break; // leaving the loop aborts the request
    return { id };
  },
  async embed({ model }) {
    const answer = await openai.embeddings.create({ model, input: ["one", "two"] });
    return { vectors: answer.data.map((row) => Array.from(row.embedding)) };
  },
  async count({ model }) {
    const { max_tokens, ...row } = messages.request(model, false);
    return { tokens: (await anthropic.messages.countTokens(row)).input_tokens };
  },
  async retry({ model }) {
    return chat.said(await patient.chat.completions.create(chat.request(model, false)));
  },
};

const hung = () =>
  new Promise((_, reject) => setTimeout(() => reject(new Error("no end within 30 seconds")), 30_000).unref());

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  headers = {};
  let answer;
  try {
    const act = others[order.do] ?? speakers[order.client][order.do];
    answer = { ok: await Promise.race([act(order), hung()]), headers };
  } catch (error) {
    const given = error.headers ? Object.fromEntries(error.headers) : headers;
    answer = { error: { name: error.constructor.name, message: String(error.message), status: error.status ?? null }, headers: given };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
