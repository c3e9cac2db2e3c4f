import { tokensText } from "../figures.js";
import { Chevron } from "./icons.js";

interface ThinkingProps {
  readonly text: string;
  readonly tokens: number;
  readonly isOngoing: boolean;
}

/** The model's thinking, dimmed; it can be folded away. */
export function Thinking({ text, tokens, isOngoing }: ThinkingProps) {
  return (
    <details class="thinking" open>
      <summary>
        <Chevron />
        <span class={isOngoing ? "shimmer" : undefined}>{isOngoing ? "Thinking" : "Thought"}</span>
        <span class="count">{tokensText(tokens)}</span>
      </summary>
      <p class="thought">{text.trim()}</p>
    </details>
  );
}
