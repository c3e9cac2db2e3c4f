/** One file of text or JSON lines becomes one shard. */
import { type ByteSink, isJsonObject } from "../../../formats/index.js";
import { type ChatMessage, type ChatTemplate, ChatTemplateError } from "../../../text/index.js";
import { conversationDocuments } from "../../data/conversation.js";
import { DataError } from "../../data/data-error.js";
import type { TextContext, TextOptions } from "../../data/data-files.js";
import { documentMarks, encodeDocument } from "../../data/encode-document.js";
import { PlainDocuments } from "../../data/plain-documents.js";
import type { ShardTotals } from "../../data/shard-format.js";
import { ShardWriter } from "../../data/shard-writer.js";
import { lines, textChunks } from "./text-file.js";

const usualSeparator = "\0";

/** Whether the name says that each line is a JSON object. */
export const isJsonLines = (path: string): boolean => /\.(jsonl|ndjson)(\.gz)?$/i.test(path);

/** @throws {DataError} the file cannot be read, or a line is no document. */
export async function tokeniseFile(
  path: string,
  sink: ByteSink,
  options: TextOptions,
  context: TextContext,
): Promise<ShardTotals> {
  const { tokenizer, template, fingerprint, signal, onProgress } = context;
  const { vocabSize } = tokenizer;
  const header = {
    idBytes: vocabSize <= 2 ** 16 ? 2 : 4,
    vocabSize,
    fingerprint: fingerprint.slice(0, 32),
  } as const;
  const writer = new ShardWriter(sink, header);
  const marks = documentMarks(tokenizer);
  const chunks = textChunks(path, { signal, onProgress });
  if (!isJsonLines(path)) {
    const plain = new PlainDocuments(writer, { tokenizer, marks, separator: options.separator ?? usualSeparator });
    for await (const chunk of chunks) await plain.push(chunk);
    await plain.end();
  } else {
    // A text of JSON is one document whatever stands in it.
    const plain = new PlainDocuments(writer, { tokenizer, marks, separator: "" });
    for await (const [line, number] of lines(chunks)) {
      if (line.trim() === "") continue;
      signal?.throwIfAborted();
      const place = `line ${number}`;
      const document = parseLine(line, path, place);
      if ("text" in document) {
        await plain.push(document.text);
        await plain.end();
        continue;
      }
      if (!template) {
        throw new DataError(path, place, 'has "messages", but the tokenizer has no chat template to write them with');
      }
      const lossOnAll = options.loss === "all";
      for (const stretches of rendered(document, template, lossOnAll, path, place)) {
        const { ids, loss } = encodeDocument(stretches, tokenizer);
        await writer.append(ids, loss);
        await writer.endDocument({ isWhole: true });
      }
    }
  }
  if (writer.documents === 0) throw new DataError(path, "", "expected at least one document, got none");
  return writer.finish();
}

interface Conversation {
  readonly messages: readonly ChatMessage[];
  readonly tools: readonly unknown[] | undefined;
}

function parseLine(line: string, path: string, place: string): { readonly text: string } | Conversation {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new DataError(path, place, `expected a JSON object, got ${JSON.stringify(line.slice(0, 60))}`, { cause });
  }
  if (!isJsonObject(value)) throw new DataError(path, place, "expected a JSON object, got another JSON value");
  const { text, messages, tools } = value as Record<string, unknown>; // any object has string keys
  if (typeof text === "string" && messages === undefined) return { text };
  if (Array.isArray(messages) && text === undefined) {
    if (tools !== undefined && tools !== null && !Array.isArray(tools)) {
      throw new DataError(path, place, '"tools" expected a list');
    }
    return { messages, tools: tools ?? undefined };
  }
  const keys = Object.keys(value as object);
  throw new DataError(
    path,
    place,
    `expected either "text" (a string) or "messages" (a list), got ${keys.length === 0 ? "no keys" : `keys ${keys.slice(0, 8).join(", ")}`}`,
  );
}

function rendered(
  { messages, tools }: Conversation,
  template: ChatTemplate,
  lossOnAll: boolean,
  path: string,
  place: string,
) {
  try {
    return conversationDocuments(messages, template, { lossOnAll, tools });
  } catch (cause) {
    if (!(cause instanceof ChatTemplateError)) throw cause;
    throw new DataError(path, place, cause.message, { cause });
  }
}
