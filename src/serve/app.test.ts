import { describe, expect, test } from "vitest";
import { type Script, scriptedSource } from "../../test/scripted-source.js";
import { PromptTooLongError } from "../generate/request.js";
import { type AppOptions, createApp } from "./app.js";

function make(script: Script = {}, options: Partial<AppOptions> = {}) {
  const source = scriptedSource(script);
  const app = createApp({ source, ...options });
  const post = (body: unknown, init: RequestInit = {}) =>
    app.request("/v1/chat/completions", {
      method: "POST",
      body: typeof body === "string" ? body : JSON.stringify(body),
      ...init,
    });
  return { source, app, post };
}

const messages = [{ role: "user", content: "Hi" }];

/** The data of a stream's events. */
async function events(response: Response): Promise<unknown[]> {
  const text = await response.text();
  return text
    .split("\n\n")
    .filter((line) => line !== "")
    .map((line) => {
      expect(line.startsWith("data: ")).toBe(true);
      return line === "data: [DONE]" ? "[DONE]" : JSON.parse(line.slice(6));
    });
}

describe("GET", () => {
  test("/health", async () => {
    const response = await make().app.request("/health");
    expect(await response.json()).toEqual({ status: "ok", model: "scripted", requests: { active: 0, most: 66 } });
  });

  test("/v1/models lists the served name", async () => {
    const { app } = make({}, { modelName: "mini" });
    const list = await (await app.request("/v1/models")).json();
    expect(list).toMatchObject({ object: "list", data: [{ id: "mini", object: "model", max_model_len: 512 }] });
    expect((await app.request("/v1/models/default")).status).toBe(200);
    expect((await app.request("/v1/models/scripted")).status).toBe(404);
  });
});

describe("a whole answer", () => {
  test("has content, reasoning_content and usage", async () => {
    const { post } = make({ reasoning: ["Let me", " see."], answer: ["Hello", "!"] });
    const response = await post({ model: "scripted", messages });
    expect(response.status).toBe(200);
    const json = (await response.json()) as Record<string, unknown>;
    expect(json.id).toMatch(/^chatcmpl-/);
    expect(json).toMatchObject({
      object: "chat.completion",
      model: "scripted",
      choices: [
        {
          index: 0,
          message: { role: "assistant", content: "Hello!", reasoning_content: "Let me see." },
          finish_reason: "stop",
          stop_reason: null,
        },
      ],
      usage: {
        prompt_tokens: 7,
        completion_tokens: 4,
        total_tokens: 11,
        prompt_tokens_details: { cached_tokens: 3 },
        completion_tokens_details: { reasoning_tokens: 2 },
      },
    });
  });

  test("passes every parameter on", async () => {
    const { post, source } = make();
    await post({
      messages: [
        { role: "developer", content: "Be brief." },
        {
          role: "user",
          content: [
            { type: "text", text: "H" },
            { type: "text", text: "i" },
          ],
        },
        { role: "assistant", content: "Hello.", reasoning_content: "A greeting." },
        { role: "user", content: "Again" },
      ],
      max_tokens: 5,
      max_completion_tokens: 9,
      temperature: 0.5,
      top_p: 0.9,
      top_k: 40,
      min_p: 0.05,
      repetition_penalty: 1.1,
      seed: 3,
      stop: "END",
      thinking_budget: 16,
      chat_template_kwargs: { enable_thinking: false },
      n: 1,
      logprobs: false,
      tools: [],
      user: "somebody",
    });
    const { messages: passed, options } = source.calls[0]!;
    expect(passed).toEqual([
      { role: "system", content: "Be brief." },
      { role: "user", content: "Hi" },
      { role: "assistant", content: "<think>A greeting.</think>Hello." },
      { role: "user", content: "Again" },
    ]);
    const { signal, ...rest } = options;
    expect(signal).toBeInstanceOf(AbortSignal);
    expect(rest).toEqual({
      maxTokens: 9,
      temperature: 0.5,
      topP: 0.9,
      topK: 40,
      minP: 0.05,
      repetitionPenalty: 1.1,
      seed: 3,
      stop: ["END"],
      thinkingBudget: 16,
      enableThinking: false,
    });
  });

  test("null is the same as absent", async () => {
    const { post, source } = make();
    expect((await post({ messages, temperature: null, stop: null, stream: null, model: null })).status).toBe(200);
    expect(Object.keys(source.calls[0]!.options)).toEqual(["signal"]);
  });
});

describe("a stream", () => {
  test("sends the role, reasoning, content, the end and [DONE]", async () => {
    const { post } = make({ reasoning: ["Hm."], answer: ["Hello", "!"] });
    const response = await post({ messages, stream: true, stream_options: { include_usage: true } });
    expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    const got = (await events(response)) as {
      choices: { delta: object; finish_reason: string | null }[];
      usage?: object;
    }[];
    expect(got.at(-1)).toBe("[DONE]");
    const chunks = got.slice(0, -1);
    expect(chunks.map(({ choices }) => choices[0]?.delta)).toEqual([
      { role: "assistant", content: "" },
      { reasoning_content: "Hm." },
      { content: "Hello" },
      { content: "!" },
      {},
      undefined,
    ]);
    expect(chunks.map(({ choices }) => choices[0]?.finish_reason)).toEqual([null, null, null, null, "stop", undefined]);
    expect(chunks.map(({ usage }) => usage).slice(0, -1)).toEqual([null, null, null, null, null]);
    expect(chunks.at(-1)?.usage).toMatchObject({ prompt_tokens: 7, completion_tokens: 3 });
  });

  test("has no usage unless asked", async () => {
    const { post } = make();
    const got = await events(await post({ messages, stream: true }));
    expect(JSON.stringify(got)).not.toContain("usage");
  });

  test("a failure in its middle is an error event, and gives the place back", async () => {
    const failures: unknown[] = [];
    const { post, app } = make(
      { lateFailure: new Error("the device was lost") },
      { onFailure: (e) => failures.push(e) },
    );
    const got = await events(await post({ messages, stream: true }));
    expect(got.at(-1)).toMatchInlineSnapshot(`
      {
        "error": {
          "code": null,
          "message": "the device was lost",
          "param": null,
          "type": "server_error",
        },
      }
    `);
    expect(failures).toHaveLength(1);
    expect(await (await app.request("/health")).json()).toMatchObject({ requests: { active: 0 } });
  });

  test("stops the generation when its reader leaves, also before the first chunk was read", async () => {
    for (const reads of [0, 1, 2]) {
      const { post, source, app } = make({ hold: true });
      const reader = (await post({ messages, stream: true })).body!.getReader();
      for (let i = 0; i < reads; i++) await reader.read();
      await reader.cancel();
      expect(source.calls[0]?.options.signal?.aborted).toBe(true);
      await source.until(() => source.active === 0);
      expect(await (await app.request("/health")).json()).toMatchObject({ requests: { active: 0 } });
    }
  });

  test("ends with an error event when the server shuts down", async () => {
    const shutdown = new AbortController();
    const { post, source } = make({ hold: true }, { shutdown: shutdown.signal });
    const response = await post({ messages, stream: true });
    shutdown.abort();
    expect((await events(response)).at(-1)).toMatchObject({ error: { code: "shutting_down" } });
    expect(source.active).toBe(0);
  });
});

describe("several requests", () => {
  test("run together; those beyond the queue are refused", async () => {
    const { post, source } = make({ hold: true, slots: 2 }, { maxWaiting: 1 });
    const open = [post({ messages }), post({ messages }), post({ messages })];
    await source.until(() => source.active === 3);
    const refused = await post({ messages });
    expect(refused.status).toBe(503);
    expect(refused.headers.get("retry-after")).toBe("1");
    expect(await refused.json()).toMatchInlineSnapshot(`
      {
        "error": {
          "code": "overloaded",
          "message": "3 requests are under way or waiting, as many as this server takes; try again later.",
          "param": null,
          "type": "server_error",
        },
      }
    `);
    source.release();
    for (const response of await Promise.all(open)) expect(response.status).toBe(200);
    expect((await post({ messages })).status).toBe(200);
  });

  test("a whole answer stops when its client leaves", async () => {
    const { post, source } = make({ hold: true });
    const client = new AbortController();
    const response = post({ messages }, { signal: client.signal });
    await source.until(() => source.active === 1);
    client.abort();
    expect((await response).status).toBe(499);
    expect(source.active).toBe(0);
  });
});

describe("errors", () => {
  const wrong: readonly (readonly [name: string, body: unknown])[] = [
    ["no JSON", "{"],
    ["a list", []],
    ["no messages", {}],
    ["empty messages", { messages: [] }],
    ["message is text", { messages: ["Hi"] }],
    ["role", { messages: [{ role: "tool", content: "4" }] }],
    ["content", { messages: [{ role: "user" }] }],
    ["content number", { messages: [{ role: "user", content: 4 }] }],
    ["image part", { messages: [{ role: "user", content: [{ type: "image_url", image_url: {} }] }] }],
    ["part without text", { messages: [{ role: "user", content: [{ type: "text" }] }] }],
    ["reasoning", { messages: [{ role: "assistant", content: "", reasoning_content: 1 }] }],
    ["model", { messages, model: 3 }],
    ["max_tokens", { messages, max_tokens: 0 }],
    ["temperature", { messages, temperature: "hot" }],
    ["temperature sign", { messages, temperature: -1 }],
    ["top_p", { messages, top_p: 0 }],
    ["top_k", { messages, top_k: 1.5 }],
    ["min_p", { messages, min_p: 2 }],
    ["penalty", { messages, repetition_penalty: 0 }],
    ["seed", { messages, seed: 1.5 }],
    ["stop", { messages, stop: ["a", ""] }],
    ["17 stops", { messages, stop: Array.from({ length: 17 }, () => "x") }],
    ["stream", { messages, stream: "yes" }],
    ["include_usage", { messages, stream_options: { include_usage: 1 } }],
    ["n", { messages, n: 2 }],
    ["logprobs", { messages, logprobs: true }],
    ["tools", { messages, tools: [{ type: "function" }] }],
    ["format", { messages, response_format: { type: "json_object" } }],
    ["budget", { messages, thinking_budget: -1 }],
    ["kwargs", { messages, chat_template_kwargs: { enable_thinking: "no" } }],
  ];

  test("400 names the field, what was expected and what was found", async () => {
    const { post, source } = make();
    const lines: string[] = [];
    for (const [name, body] of wrong) {
      const response = await post(body);
      const { error } = (await response.json()) as { error: { message: string; type: string; param: string | null } };
      expect([response.status, error.type]).toEqual([400, "invalid_request_error"]);
      // The wording after the colon of a JSON fault is the engine's.
      lines.push(`${name} | ${error.param} | ${error.message.replace(/(JSON:).*/, "$1 …")}`);
    }
    expect(source.calls).toHaveLength(0);
    expect(lines.join("\n")).toMatchInlineSnapshot(`
      "no JSON | null | the body expected JSON: …
      a list | null | the body expected an object; got [].
      no messages | messages | messages expected a list of messages; got nothing.
      empty messages | messages | messages expected at least one message; got [].
      message is text | messages[0] | messages[0] expected a message such as {"role": "user", "content": …}; got "Hi".
      role | messages[0].role | messages[0].role expected system, developer, user or assistant; got "tool".
      content | messages[0].content | messages[0].content expected text or a list of text parts; got nothing.
      content number | messages[0].content | messages[0].content expected text or a list of text parts; got 4.
      image part | messages[0].content[0].type | messages[0].content[0].type expected "text" (this server reads text alone); got "image_url".
      part without text | messages[0].content[0].text | messages[0].content[0].text expected text; got nothing.
      reasoning | messages[0].reasoning_content | messages[0].reasoning_content expected text; got 1.
      model | model | model expected the model's name; got 3.
      max_tokens | max_tokens | max_tokens expected a whole number ≥ 1; got 0.
      temperature | temperature | temperature expected a number ≥ 0; got "hot".
      temperature sign | temperature | temperature expected a number ≥ 0; got -1.
      top_p | top_p | top_p expected a number above 0 and at most 1; got 0.
      top_k | top_k | top_k expected a whole number ≥ 0 (0: off); got 1.5.
      min_p | min_p | min_p expected a number from 0 to 1; got 2.
      penalty | repetition_penalty | repetition_penalty expected a number above 0 (1: off); got 0.
      seed | seed | seed expected a whole number; got 1.5.
      stop | stop[1] | stop[1] expected text that is not empty; got "".
      17 stops | stop | stop expected text or up to 16 texts, none empty; got ["x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x","x"].
      stream | stream | stream expected true or false; got "yes".
      include_usage | stream_options.include_usage | stream_options.include_usage expected true or false; got 1.
      n | n | n expected 1: this server gives one answer a request; got 2.
      logprobs | logprobs | logprobs expected false: this server gives no log-probabilities; got true.
      tools | tools | tools expected nothing: this server does not call tools; got [{"type":"function"}].
      format | response_format.type | response_format.type expected "text": this server has no structured output; got "json_object".
      budget | thinking_budget | thinking_budget expected a whole number of tokens ≥ 0; got -1.
      kwargs | chat_template_kwargs.enable_thinking | chat_template_kwargs.enable_thinking expected true or false; got "no"."
    `);
  });

  test("a prompt that does not fit, whole and streamed", async () => {
    const { post } = make({ failure: new PromptTooLongError(600, 512) });
    for (const stream of [false, true]) {
      const response = await post({ messages, stream });
      expect(response.status).toBe(400);
      expect(await response.json()).toEqual({
        error: {
          message: "the prompt has 600 tokens; this model's context here holds 512, the answer included.",
          type: "invalid_request_error",
          param: "messages",
          code: "context_length_exceeded",
        },
      });
    }
  });

  test("messages that no tokenizer can make fit are not even tokenised", async () => {
    const { post, source } = make();
    const response = await post({ messages: [{ role: "user", content: "x".repeat(512 * 64 + 1) }] });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchInlineSnapshot(`
      {
        "error": {
          "code": "context_length_exceeded",
          "message": "the messages have 32769 characters; this model's context here holds 512 tokens, which are 32768 characters at the very most.",
          "param": "messages",
          "type": "invalid_request_error",
        },
      }
    `);
    expect(source.calls).toHaveLength(0);
  });

  test("another model", async () => {
    const { post } = make();
    expect((await post({ messages, model: "default" })).status).toBe(200);
    const response = await post({ messages, model: "gpt" });
    expect(response.status).toBe(404);
    expect(await response.json()).toMatchInlineSnapshot(`
      {
        "error": {
          "code": "model_not_found",
          "message": "model "gpt" is not served here; expected "scripted" or "default".",
          "param": "model",
          "type": "invalid_request_error",
        },
      }
    `);
  });

  test("a body that is too large, with and without its length announced", async () => {
    const { post } = make({}, { maxBodyBytes: 100 });
    const body = JSON.stringify({ messages: [{ role: "user", content: "x".repeat(200) }] });
    for (const response of [
      await post(body, { headers: { "content-length": String(body.length) } }),
      await post("", { body: new Blob([body]).stream(), duplex: "half" }),
    ]) {
      expect(response.status).toBe(413);
      expect(await response.json()).toMatchObject({
        error: { message: "the body is larger than the 100 bytes that this server takes." },
      });
    }
  });

  test("unknown routes and methods", async () => {
    const { app } = make();
    const missing = await app.request("/v1/embeddings", { method: "POST" });
    expect(missing.status).toBe(404);
    expect(await missing.json()).toMatchInlineSnapshot(`
      {
        "error": {
          "code": null,
          "message": "there is no POST /v1/embeddings here; the interface is at /v1/chat/completions.",
          "param": null,
          "type": "invalid_request_error",
        },
      }
    `);
    const method = await app.request("/v1/chat/completions");
    expect([method.status, method.headers.get("allow")]).toEqual([405, "POST"]);
    expect(await method.json()).toMatchInlineSnapshot(`
      {
        "error": {
          "code": null,
          "message": "/v1/chat/completions takes POST; got GET.",
          "param": null,
          "type": "invalid_request_error",
        },
      }
    `);
  });

  test("a failure of the model is a 500 and reported", async () => {
    const failures: unknown[] = [];
    const failure = new Error("the device was lost");
    const { post } = make({ failure }, { onFailure: (error) => failures.push(error) });
    const response = await post({ messages });
    expect(response.status).toBe(500);
    expect(await response.json()).toMatchObject({ error: { type: "server_error", message: "the device was lost" } });
    expect(failures).toEqual([failure]);
  });
});

describe("other origins", () => {
  test("none by default", async () => {
    const response = await make().app.request("/v1/models", { headers: { origin: "https://example.org" } });
    expect(response.headers.has("access-control-allow-origin")).toBe(false);
  });

  test("the allowed one, also on errors", async () => {
    const { app, post } = make({}, { corsOrigin: "https://example.org", loopbackOnly: true });
    const headers = { origin: "https://example.org" };
    const preflight = await app.request("/v1/chat/completions", {
      method: "OPTIONS",
      headers: {
        ...headers,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
      },
    });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get("access-control-allow-headers")).toBe("content-type");
    const refused = await post({}, { headers });
    expect([refused.status, refused.headers.get("access-control-allow-origin")]).toEqual([400, "https://example.org"]);
  });

  test.each([
    ["localhost:8080", undefined, 200],
    ["127.0.0.1:8080", undefined, 200],
    ["[::1]:8080", undefined, 200],
    ["LOCALHOST", undefined, 200],
    ["evil.example:8080", undefined, 403],
    ["127.0.0.1.evil.example", undefined, 403],
    ["localhost:8080", "http://localhost:8080", 200],
    ["localhost:8080", "https://evil.example", 403],
    ["localhost:8080", "null", 403],
  ] as const)("loopback only: host %s, origin %s: %i", async (host, origin, status) => {
    const { app } = make({}, { loopbackOnly: true });
    const response = await app.request("/v1/models", { headers: { host, ...(origin ? { origin } : {}) } });
    expect(response.status).toBe(status);
    if (status === 403) expect(await response.json()).toMatchObject({ error: { type: "permission_error" } });
  });
});
