/**
 * The server's routes, without a socket: an OpenAI-compatible interface to one model, and static files.
 *
 *   GET  /health                 { status, model, requests }
 *   GET  /v1/models, /v1/models/:id
 *   POST /v1/chat/completions    whole or streamed; a client that goes away stops its answer
 */
import { Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { cors } from "hono/cors";
import { type ChatPart, NoChatTemplateError } from "../generate/chat.js";
import { PromptIdError, PromptTooLongError } from "../generate/request.js";
import { type ChatMessage, ChatTemplateError } from "../text/index.js";
import { Admission } from "./admission.js";
import { ApiError, errorResponse } from "./api-error.js";
import { streamedCompletion, wholeCompletion } from "./chat-completion.js";
import { parseChatRequest } from "./chat-request.js";
import type { ChatSource } from "./chat-source.js";
import { originGuard } from "./origin-guard.js";
import { type StaticFolder, staticFiles } from "./static.js";

/** More than any text has on average: English has 4 to 5, and the longest tokens of large vocabularies are runs of 64 to 128 spaces. */
const CHARACTERS_PER_TOKEN = 64;

export interface AppOptions {
  readonly source: ChatSource;
  /** The name that clients use. Default: the source's; `default` is always understood. */
  readonly modelName?: string | undefined;
  /** Requests that may wait while the source's slots are at work. Default 64. */
  readonly maxWaiting?: number | undefined;
  /** Default 8 MiB. */
  readonly maxBodyBytes?: number | undefined;
  /** An origin whose pages may call, or `*`. Default: none. */
  readonly corsOrigin?: string | undefined;
  /** Answer requests to this machine's own names only. Default false. */
  readonly loopbackOnly?: boolean | undefined;
  readonly folders?: readonly StaticFolder[] | undefined;
  /** Stops all answers under way. */
  readonly shutdown?: AbortSignal | undefined;
  /** Told of failures that are not the client's. */
  readonly onFailure?: ((error: unknown) => void) | undefined;
}

/** Builds the routes. `app.fetch` serves them, `app.request` tries them. */
export function createApp(options: AppOptions): Hono {
  const {
    source,
    modelName = source.name,
    maxWaiting = 64,
    maxBodyBytes = 8 * 2 ** 20,
    corsOrigin,
    shutdown,
  } = options;
  const admission = new Admission(source.slots + maxWaiting);
  const created = Math.floor(Date.now() / 1000);
  const modelJson = { id: modelName, object: "model", created, owned_by: "fulgur", max_model_len: source.maxTokens };

  const checkName = (name: string | undefined) => {
    if (name === undefined || name === modelName || name === "default") return;
    throw new ApiError(
      404,
      `model ${JSON.stringify(name)} is not served here; expected ${JSON.stringify(modelName)} or "default".`,
      {
        param: "model",
        code: "model_not_found",
      },
    );
  };

  // Tokenising megabytes would hold up everybody's answers for many seconds, only to find that they do not fit.
  const checkLength = (messages: readonly ChatMessage[]) => {
    const most = source.maxTokens * CHARACTERS_PER_TOKEN;
    const characters = messages.reduce((sum, { content }) => sum + (content?.length ?? 0), 0);
    if (characters <= most) return;
    throw new ApiError(
      400,
      `the messages have ${characters} characters; this model's context here holds ${source.maxTokens} tokens, which are ${most} characters at the very most.`,
      { param: "messages", code: "context_length_exceeded" },
    );
  };

  /** Any failure as an answer. */
  const asApiError = (error: unknown): ApiError => {
    if (error instanceof ApiError) return error;
    const details = { cause: error, param: "messages" };
    if (error instanceof PromptTooLongError) {
      return new ApiError(400, `${error.message}.`, { ...details, code: "context_length_exceeded" });
    }
    if (error instanceof ChatTemplateError || error instanceof NoChatTemplateError || error instanceof PromptIdError) {
      return new ApiError(400, error.message, details);
    }
    if (shutdown?.aborted) return new ApiError(503, "the server is shutting down.", { code: "shutting_down" });
    options.onFailure?.(error);
    return new ApiError(500, error instanceof Error ? error.message : String(error), { cause: error });
  };

  const app = new Hono();
  app.onError((error) => errorResponse(asApiError(error)));
  if (options.loopbackOnly) app.use(originGuard(corsOrigin));
  if (corsOrigin !== undefined)
    app.use("/v1/*", cors({ origin: corsOrigin, allowMethods: ["GET", "POST"], maxAge: 600 }));

  app.get("/health", (c) =>
    c.json({ status: "ok", model: modelName, requests: { active: admission.active, most: admission.most } }),
  );
  app.get("/v1/models", (c) => c.json({ object: "list", data: [modelJson] }));
  app.get("/v1/models/:id", (c) => {
    checkName(c.req.param("id"));
    return c.json(modelJson);
  });

  const limit = bodyLimit({
    maxSize: maxBodyBytes,
    onError: () => {
      throw new ApiError(413, `the body is larger than the ${maxBodyBytes} bytes that this server takes.`);
    },
  });
  app.post("/v1/chat/completions", limit, async (c) => {
    const request = parseChatRequest(await readJson(c.req), source);
    checkName(request.model);
    checkLength(request.messages);
    const leave = admission.enter();
    const abort = new AbortController();
    const client = c.req.raw.signal;
    const signal = AbortSignal.any([client, abort.signal, ...(shutdown ? [shutdown] : [])]);
    let parts: AsyncIterator<ChatPart> | undefined;
    /** Stops what is under way, if anything is, and gives the place back. */
    const end = () => {
      abort.abort();
      // Whoever waits for a part has the abort already; here nobody does.
      parts?.return?.().catch(() => undefined);
      leave();
    };
    let isStreaming = false;
    try {
      parts = source.chat(request.messages, { ...request.options, signal })[Symbol.asyncIterator]();
      // The status waits for the first part: a prompt that does not fit is a 400 in streams, too.
      const all = resumed(await parts.next(), parts);
      if (!request.stream) return await wholeCompletion(modelName, all);
      isStreaming = true;
      return streamedCompletion(modelName, all, {
        includeUsage: request.includeUsage,
        onError: asApiError,
        onEnd: end,
      });
    } catch (error) {
      // Nobody reads this answer, and it is no failure of the server's.
      if (client.aborted) return new Response(null, { status: 499 });
      throw error;
    } finally {
      if (!isStreaming) end();
    }
  });

  for (const [path, allow] of [
    ["/health", "GET"],
    ["/v1/models", "GET"],
    ["/v1/models/:id", "GET"],
    ["/v1/chat/completions", "POST"],
  ] as const) {
    app.all(path, (c) => {
      throw new ApiError(405, `${c.req.path} takes ${allow}; got ${c.req.method}.`, { headers: { allow } });
    });
  }
  for (const folder of options.folders ?? []) app.use(staticFiles(folder));
  app.notFound((c) =>
    errorResponse(
      new ApiError(404, `there is no ${c.req.method} ${c.req.path} here; the interface is at /v1/chat/completions.`),
    ),
  );
  return app;
}

async function readJson(request: { text(): Promise<string> }): Promise<unknown> {
  const text = await request.text();
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ApiError(400, `the body expected JSON: ${cause instanceof Error ? cause.message : String(cause)}.`, {
      cause,
    });
  }
}

async function* resumed<T>(first: IteratorResult<T>, rest: AsyncIterator<T>): AsyncGenerator<T> {
  for (let step = first; !step.done; step = await rest.next()) yield step.value;
}
