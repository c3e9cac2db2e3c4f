/** golden-nll.json: the negative log-likelihood of each token of held-out windows. */
import { z } from "zod";
import type { Device } from "../../device/index.js";
import type { Folder } from "../../formats/index.js";
import { loadLanguageModel } from "../../models/index.js";
import { type Check, logSumExp } from "./compare.js";
import { parseReference } from "./goldens-file.js";
import { piecewiseLogits } from "./run-model.js";

const schema = z.looseObject({
  cases: z.array(z.looseObject({ book: z.string(), ids: z.array(z.number().int()), nll: z.array(z.number()) })),
});

/** Largest error of one token's nll; the file holds six digits, and logits reach 39. */
const TOLERANCE = 2e-3;

/** A software GPU takes minutes for a whole window: there the first tokens stand for it, and the line says so. */
const SOFTWARE_TOKENS = 128;

export async function* checkNll(device: Device, folder: Folder): AsyncGenerator<Check> {
  const { cases } = parseReference(schema, await folder.readJson("golden-nll.json"), `${folder.name}/golden-nll.json`);
  using model = await loadLanguageModel(device, folder);
  const { vocabSize } = model;
  for (const { book, ids, nll } of cases) {
    const count = device.isSoftware ? Math.min(SOFTWARE_TOKENS, nll.length) : nll.length;
    const pieces = Array<number>(Math.ceil(count / 256)).fill(256);
    const logits = await piecewiseLogits(model, ids.slice(0, count), pieces);
    let worst = 0;
    let sum = 0;
    for (let t = 0; t < count; t++) {
      const row = logits.subarray(t * vocabSize, (t + 1) * vocabSize);
      const value = logSumExp(row) - (row[ids[t + 1] as number] as number); // one more id than nll values
      sum += value;
      const error = Math.abs(value - (nll[t] as number)); // t < count ≤ nll.length
      worst = Number.isNaN(error) ? Number.POSITIVE_INFINITY : Math.max(worst, error);
    }
    yield {
      name: `nll of ${book}`,
      passed: worst <= TOLERANCE,
      detail: `${count} tokens, mean ${(sum / count).toFixed(5)}, largest error ${worst.toExponential(2)} (at most ${TOLERANCE})`,
    };
  }
}
