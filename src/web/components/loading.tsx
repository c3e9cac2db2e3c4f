import { bytesText } from "../figures.js";
import type { LoadStage } from "../protocol.js";

interface LoadingProps {
  readonly stage: LoadStage;
  readonly done: number;
  readonly total: number;
}

const stages: Readonly<Record<LoadStage, string>> = {
  device: "Opening the device",
  files: "Reading the model's files",
  weights: "Loading the model",
};

/** How far loading has come. Bytes are known once the weights come in. */
export function Loading({ stage, done, total }: LoadingProps) {
  const share = total > 0 ? done / total : undefined;
  return (
    <div class="loading">
      <div class="loading-words">
        <span role="status">{stages[stage]}</span>
        {total > 0 && (
          <span class="count">
            {bytesText(done)} of {bytesText(total)}
          </span>
        )}
      </div>
      {share === undefined ? (
        <progress aria-label={stages[stage]} />
      ) : (
        <progress value={share} max={1} aria-label={stages[stage]} />
      )}
    </div>
  );
}
