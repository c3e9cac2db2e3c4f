/** Where the time to the first token went, for --verbose. */
import type { Model } from "../generate/index.js";
import { bytesText, colors, say } from "./output.js";

export interface Opened {
  readonly model: Model;
  /** Opening the device took so long. */
  readonly deviceSeconds: number;
}

const milliseconds = (ms: number): string => `${ms.toFixed(0)} ms`;

/** To be called with each part of the first answer: the first call says how the time since the process began was spent. */
export function startupTeller({ model, deviceSeconds }: Opened, isVerbose: boolean): () => void {
  const asked = performance.now();
  let isTold = !isVerbose;
  return () => {
    if (isTold) return;
    isTold = true;
    const now = performance.now(); // counts from the start of the process
    const { weightSeconds, compileSeconds, seconds } = model.loading;
    const { weightBytes } = model.language;
    const parts = [
      `Node and program ${milliseconds(asked - 1000 * (deviceSeconds + seconds))}`,
      `device ${milliseconds(1000 * deviceSeconds)}`,
      `weights ${milliseconds(1000 * weightSeconds)} (${bytesText(weightBytes)})`,
      ...(compileSeconds > 0 ? [`kernels ${milliseconds(1000 * compileSeconds)}, beside them`] : []),
      `prompt ${milliseconds(now - asked)}`,
    ];
    say(colors.dim(`First token after ${milliseconds(now)}: ${parts.join("; ")}.`));
  };
}
