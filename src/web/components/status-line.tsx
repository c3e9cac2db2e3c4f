import { progressOf, type Turn } from "../conversation.js";
import { countText, parametersText, speedText, tokensText } from "../figures.js";
import type { ModelInfo } from "../protocol.js";

interface StatusLineProps {
  readonly info: ModelInfo | undefined;
  /** The latest. */
  readonly turn: Turn | undefined;
}

/** Where the model runs, how fast, how full its context is, and what had to give way. */
export function StatusLine({ info, turn }: StatusLineProps) {
  if (!info) return <p class="status">&nbsp;</p>;
  const progress = turn && progressOf(turn);
  const context = turn?.stats?.contextTokens;
  return (
    <div class="status">
      <span
        class="status-device"
        title={`${countText(info.parameters)} parameters, ${countText(info.activeParameters)} per token`}
      >
        {info.device}
      </span>
      <span class="wide-only">{parametersText(info.parameters)} parameters</span>
      {progress && progress.tokens > 0 && <span>{tokensText(progress.tokens)}</span>}
      {progress && progress.tokensPerSecond > 0 && <span>{speedText(progress.tokensPerSecond)}</span>}
      <span class="wide-only">
        context {context === undefined ? "" : `${countText(context)} of `}
        {countText(info.contextTokens)}
      </span>
      {info.notes.map((note) => (
        <span key={note} class="note">
          {note}
        </span>
      ))}
    </div>
  );
}
