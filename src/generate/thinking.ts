/**
 * How a model marks its thinking, and how it is closed at a budget.
 *
 * Models whose markers are tokens of their own (fulgur-mini, Qwen3) are counted on the device; MiniMax-M1 writes its markers
 * as ordinary text, so there the host counts, token by token.
 */
import type { Tokenizer } from "../text/index.js";

export interface ThinkingMarkers {
  readonly open: string;
  readonly close: string;
  /** Both or neither. */
  readonly openId: number | undefined;
  readonly closeId: number | undefined;
  /** What the model itself writes to end its thinking; forced at the budget. */
  readonly closingText: string;
  readonly closingIds: readonly number[];
  /** Newlines around the markers belong to them. */
  readonly trimNewlines: boolean;
}

export function thinkingMarkers(
  tokenizer: Tokenizer,
  tokenizerConfig: unknown,
  isMiniMaxRelease: boolean,
): ThinkingMarkers | undefined {
  const open = "<think>";
  const close = "</think>";
  const openId = tokenizer.idOf(open);
  const closeId = tokenizer.idOf(close);
  const isToken = openId !== undefined && closeId !== undefined;
  if (!isToken && !isMiniMaxRelease) return undefined;
  // Models that break lines around the markers show it in their template; M1's format is in its report's examples.
  const onLinesOfTheirOwn = isMiniMaxRelease || JSON.stringify(tokenizerConfig).includes("\\\\n</think>");
  const closingText = isToken && !onLinesOfTheirOwn ? close : isMiniMaxRelease ? `\n${close}\n` : `\n${close}\n\n`;
  return {
    open,
    close,
    openId: isToken ? openId : undefined,
    closeId: isToken ? closeId : undefined,
    closingText,
    closingIds: tokenizer.encode(closingText),
    trimNewlines: onLinesOfTheirOwn,
  };
}

/**
 * The content of an earlier assistant turn as the model wrote it, its thought included: templates such as fulgur-mini's
 * then render the very tokens of that turn, so that a kept sequence can be continued.
 */
export function assistantContent(
  thinking: Pick<ThinkingMarkers, "open" | "close" | "trimNewlines"> | undefined,
  turn: { readonly reasoning: string; readonly answer: string },
): string {
  if (!thinking || turn.reasoning === "") return turn.answer;
  const { open, close, trimNewlines } = thinking;
  return trimNewlines
    ? `${open}\n${turn.reasoning}\n${close}\n\n${turn.answer}`
    : `${open}${turn.reasoning}${close}${turn.answer}`;
}
