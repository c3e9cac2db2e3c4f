/**
 * The body of `POST /v1/chat/completions`: its schema, and what it asks of the model.
 *
 * Fields that would change the answer and that the server does not have (tools, logprobs, several choices, …) are refused
 * unless they ask for nothing; fields that change nothing here (user, metadata, store, …) are ignored.
 *
 * Beyond OpenAI's interface, as in vLLM and SGLang: top_k, min_p, repetition_penalty, enable_thinking (also in
 * chat_template_kwargs), reasoning_content in messages; our own: thinking_budget.
 */
import { z } from "zod";
import type { ChatOptions } from "../generate/chat.js";
import { assistantContent } from "../generate/thinking.js";
import type { ChatMessage } from "../text/index.js";
import { ApiError } from "./api-error.js";
import type { ChatSource } from "./chat-source.js";
import { given } from "./given.js";

/** A request that passed its checks. */
export interface ChatRequest {
  /** Absent: the served model. */
  readonly model: string | undefined;
  readonly messages: readonly ChatMessage[];
  readonly options: ChatOptions;
  readonly stream: boolean;
  /** Streams end with a chunk that has the usage. */
  readonly includeUsage: boolean;
}

// Every message of the schema says what was expected; `faultOf` adds where, and what was found.
const decimal = (error: string, least: number, most = Number.MAX_VALUE) =>
  z.number({ error }).min(least, { error }).max(most, { error }).nullish();
const whole = (error: string, least: number) => z.int({ error }).min(least, { error }).nullish();
const flag = z.boolean({ error: "true or false" }).nullish();
const text = z.string({ error: "text" });

const part = z.looseObject(
  { type: z.literal("text", { error: '"text" (this server reads text alone)' }), text },
  { error: 'a part such as {"type": "text", "text": …}' },
);
const asParts = (value: unknown): unknown => (typeof value === "string" ? [{ type: "text", text: value }] : value);
const content = z
  .preprocess(asParts, z.array(part, { error: "text or a list of text parts" }))
  .transform((parts) => parts.map((each) => each.text).join(""));

const message = z.discriminatedUnion(
  "role",
  [
    z.looseObject({ role: z.enum(["system", "developer", "user"]), content }),
    z.looseObject({
      role: z.literal("assistant"),
      // A turn that was cut short while thinking has no answer.
      content: z.union([content, z.null().transform(() => "")], { error: "text or a list of text parts" }).optional(),
      reasoning_content: text.nullish(),
    }),
  ],
  {
    error: (issue) =>
      issue.code === "invalid_union"
        ? "system, developer, user or assistant"
        : 'a message such as {"role": "user", "content": …}',
  },
);

const stops = "text or up to 16 texts, none empty";
const stopText = z.string({ error: stops }).min(1, { error: "text that is not empty" });
const nothing = (error: string) =>
  z.union([z.array(z.unknown()).max(0), z.record(z.string(), z.never())], { error }).nullish();

const schema = z.looseObject(
  {
    model: z.string({ error: "the model's name" }).nullish(),
    messages: z.array(message, { error: "a list of messages" }).min(1, { error: "at least one message" }),
    max_tokens: whole("a whole number ≥ 1", 1),
    max_completion_tokens: whole("a whole number ≥ 1", 1),
    temperature: decimal("a number ≥ 0", 0),
    top_p: decimal("a number above 0 and at most 1", Number.MIN_VALUE, 1),
    top_k: whole("a whole number ≥ 0 (0: off)", 0),
    min_p: decimal("a number from 0 to 1", 0, 1),
    repetition_penalty: decimal("a number above 0 (1: off)", Number.MIN_VALUE),
    seed: whole("a whole number", Number.MIN_SAFE_INTEGER),
    stop: z
      .union([stopText, z.array(stopText).max(16)], { error: stops })
      .transform((value) => (typeof value === "string" ? [value] : value))
      .nullish(),
    stream: flag,
    stream_options: z
      .looseObject({ include_usage: flag }, { error: 'an object such as {"include_usage": true}' })
      .nullish(),
    thinking_budget: whole("a whole number of tokens ≥ 0", 0),
    enable_thinking: flag,
    chat_template_kwargs: z.looseObject({ enable_thinking: flag }, { error: "an object" }).nullish(),
    // What the server does not have.
    n: z.literal(1, { error: "1: this server gives one answer a request" }).nullish(),
    logprobs: z.literal(false, { error: "false: this server gives no log-probabilities" }).nullish(),
    top_logprobs: z.literal(0, { error: "0: this server gives no log-probabilities" }).nullish(),
    frequency_penalty: z.literal(0, { error: "0: this server has repetition_penalty instead" }).nullish(),
    presence_penalty: z.literal(0, { error: "0: this server has repetition_penalty instead" }).nullish(),
    logit_bias: nothing("nothing: this server has no logit_bias"),
    tools: nothing("nothing: this server does not call tools"),
    functions: nothing("nothing: this server does not call functions"),
    response_format: z
      .looseObject(
        { type: z.literal("text", { error: '"text": this server has no structured output' }) },
        { error: 'an object such as {"type": "text"}' },
      )
      .nullish(),
  },
  { error: "an object" },
);

/**
 * Reads a body.
 *
 * @param source for writing thoughts of earlier turns back as its model writes them.
 * @throws {ApiError} 400, naming the first field at fault, what was expected and what was found.
 */
export function parseChatRequest(body: unknown, source: Pick<ChatSource, "thinking">): ChatRequest {
  const parsed = schema.safeParse(body);
  if (!parsed.success) throw faultOf(parsed.error.issues[0], body);
  const { data } = parsed;
  return {
    model: data.model ?? undefined,
    messages: data.messages.map((each) =>
      each.role === "assistant"
        ? {
            role: each.role,
            content: assistantContent(source.thinking, {
              reasoning: each.reasoning_content ?? "",
              answer: each.content ?? "",
            }),
          }
        : // OpenAI's newer name of the system's role.
          { role: each.role === "developer" ? "system" : each.role, content: each.content },
    ),
    options: given({
      maxTokens: data.max_completion_tokens ?? data.max_tokens ?? undefined,
      temperature: data.temperature ?? undefined,
      topP: data.top_p ?? undefined,
      topK: data.top_k ?? undefined,
      minP: data.min_p ?? undefined,
      repetitionPenalty: data.repetition_penalty ?? undefined,
      seed: data.seed ?? undefined,
      stop: data.stop ?? undefined,
      thinkingBudget: data.thinking_budget ?? undefined,
      enableThinking: data.enable_thinking ?? data.chat_template_kwargs?.enable_thinking ?? undefined,
    }),
    stream: data.stream ?? false,
    includeUsage: data.stream_options?.include_usage ?? false,
  };
}

function faultOf(issue: z.core.$ZodIssue | undefined, body: unknown): ApiError {
  if (!issue) throw new Error("internal: a failed check without an issue");
  let got: unknown = body;
  let where = "";
  for (const key of issue.path) {
    got = typeof got === "object" && got !== null ? Reflect.get(got, key) : undefined;
    where += typeof key === "number" ? `[${key}]` : `${where === "" ? "" : "."}${String(key)}`;
  }
  const json = got === undefined ? "nothing" : JSON.stringify(got);
  const shown = json.length > 80 ? `${json.slice(0, 79)}…` : json;
  return new ApiError(400, `${where || "the body"} expected ${issue.message}; got ${shown}.`, {
    param: where || undefined,
  });
}
