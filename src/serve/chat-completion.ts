/** The answer of `POST /v1/chat/completions`: one object, or a stream of chunks as server-sent events. */
import { randomUUID } from "node:crypto";
import type { ChatPart, Usage } from "../generate/chat.js";
import type { ApiError } from "./api-error.js";

type Done = Extract<ChatPart, { kind: "done" }>;

/** What all chunks of one answer share. */
interface Head {
  readonly id: string;
  readonly created: number;
  readonly model: string;
}

function head(model: string): Head {
  return { id: `chatcmpl-${randomUUID()}`, created: Math.floor(Date.now() / 1000), model };
}

/** OpenAI knows stop and length; a repetition is an answer that was cut, and `stop_reason` tells it apart as in vLLM. */
function finish({ finishReason, stopped }: Done): { finish_reason: "stop" | "length"; stop_reason: string | null } {
  return {
    finish_reason: finishReason === "stop" ? "stop" : "length",
    stop_reason: stopped ?? (finishReason === "stop" || finishReason === "length" ? null : finishReason),
  };
}

function usageJson({ promptTokens, cachedTokens, tokens, reasoningTokens }: Usage) {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: tokens,
    total_tokens: promptTokens + tokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
    completion_tokens_details: { reasoning_tokens: reasoningTokens },
  };
}

/** Collects an answer. */
export async function wholeCompletion(model: string, parts: AsyncIterable<ChatPart>): Promise<Response> {
  const text = { reasoning: "", answer: "" };
  let done: Done | undefined;
  for await (const part of parts) {
    if (part.kind === "done") done = part;
    else text[part.kind] += part.text;
  }
  if (!done) throw new Error("internal: the answer ended without its last part");
  const { id, created } = head(model);
  return Response.json({
    id,
    object: "chat.completion",
    created,
    model,
    choices: [
      {
        index: 0,
        message: { role: "assistant", content: text.answer, reasoning_content: text.reasoning || null, refusal: null },
        logprobs: null,
        ...finish(done),
      },
    ],
    usage: usageJson(done.usage),
  });
}

export interface StreamOptions {
  readonly includeUsage: boolean;
  /** Turns a failure in mid-stream into what the client reads: the status is sent long since. */
  readonly onError: (error: unknown) => ApiError;
  /** Called when the stream is over: all is sent, it failed, or the client left. */
  readonly onEnd: () => void;
}

/** Streams an answer; parts are taken as fast as the client reads. */
export function streamedCompletion(model: string, parts: AsyncIterable<ChatPart>, options: StreamOptions): Response {
  const events = chunkTexts(model, parts, options.includeUsage);
  const encoder = new TextEncoder();
  let left = false;
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { done, value } = await events.next();
        if (!done) return controller.enqueue(encoder.encode(value));
      } catch (error) {
        if (left) return;
        controller.enqueue(encoder.encode(event(options.onError(error))));
      }
      options.onEnd();
      if (!left) controller.close();
    },
    cancel() {
      left = true;
      options.onEnd();
    },
  });
  return new Response(body, {
    headers: {
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-cache",
      // nginx would hold the stream back.
      "x-accel-buffering": "no",
    },
  });
}

const event = (value: unknown): string => `data: ${JSON.stringify(value)}\n\n`;

async function* chunkTexts(
  model: string,
  parts: AsyncIterable<ChatPart>,
  includeUsage: boolean,
): AsyncGenerator<string, void, undefined> {
  const { id, created } = head(model);
  const chunk = (choices: readonly unknown[], usage?: unknown) =>
    event({
      id,
      object: "chat.completion.chunk",
      created,
      model,
      choices,
      ...(includeUsage ? { usage: usage ?? null } : {}),
    });
  const choice = (delta: object, finished: object = { finish_reason: null }) => [
    { index: 0, delta, logprobs: null, ...finished },
  ];
  yield chunk(choice({ role: "assistant", content: "" }));
  for await (const part of parts) {
    if (part.kind === "done") {
      yield chunk(choice({}, finish(part)));
      if (includeUsage) yield chunk([], usageJson(part.usage));
    } else yield chunk(choice({ [part.kind === "reasoning" ? "reasoning_content" : "content"]: part.text }));
  }
  yield "data: [DONE]\n\n";
}
