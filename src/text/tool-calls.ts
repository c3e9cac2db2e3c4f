/**
 * Tool calls in MiniMax-M1's text form:
 *
 *   <tool_calls>
 *   {"name": "get_weather", "arguments": {"city": "Rome"}}
 *   </tool_calls>
 *
 * one JSON object a line. Lines that are no call are skipped, as the function-call guide of the release does.
 * Our choice  a block that the output's end cuts off is read as far as it goes.
 */
import { isRecord } from "./chat-messages.js";
import { pythonJson } from "./python-json.js";

/** A call that the model asks for. */
export interface ToolCall {
  readonly name: string;
  readonly arguments: Readonly<Record<string, unknown>>;
}

/** What {@link parseToolCalls} found. */
export interface ParsedToolCalls {
  /** The text around the blocks, trimmed where a block stood. */
  readonly content: string;
  /** The calls, in order. */
  readonly calls: readonly ToolCall[];
  /** Non-empty lines inside a block that are no call. */
  readonly skipped: readonly string[];
}

const openTag = "<tool_calls>";
const closeTag = "</tool_calls>";

/** Reads the tool calls of an answer. Give it the answer alone: calls inside the reasoning do not count. */
export function parseToolCalls(answer: string): ParsedToolCalls {
  const around: string[] = [];
  const calls: ToolCall[] = [];
  const skipped: string[] = [];
  let at = 0;
  for (;;) {
    const open = answer.indexOf(openTag, at);
    if (open < 0) break;
    around.push(answer.slice(at, open));
    const start = open + openTag.length;
    const close = answer.indexOf(closeTag, start);
    const block = answer.slice(start, close < 0 ? undefined : close);
    for (const line of block.split("\n").map((each) => each.trim())) {
      if (line === "") continue;
      const call = parseCall(line);
      if (call === undefined) skipped.push(line);
      else calls.push(call);
    }
    at = close < 0 ? answer.length : close + closeTag.length;
  }
  if (at === 0) return { content: answer, calls, skipped };
  around.push(answer.slice(at));
  const content = around
    .map((each) => each.trim())
    .filter((each) => each !== "")
    .join("\n");
  return { content, calls, skipped };
}

/** Writes calls as the model writes them. */
export function formatToolCalls(calls: readonly ToolCall[]): string {
  const lines = calls.map((call) => pythonJson({ name: call.name, arguments: call.arguments }));
  return [openTag, ...lines, closeTag].join("\n");
}

function parseCall(line: string): ToolCall | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined; // not JSON: skipped by the rule above, and reported in `skipped`
  }
  if (!isRecord(value) || typeof value.name !== "string" || !isRecord(value.arguments)) return undefined;
  return { name: value.name, arguments: value.arguments };
}
