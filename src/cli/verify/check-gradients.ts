/** Gradients of a model's mean next-token cross-entropy against reference values, every tensor of the checkpoint. */
import type { Device } from "../../device/index.js";
import type { Folder } from "../../formats/index.js";
import { ConfigError, loadLanguageModel, ownNumbers, trainableTensors } from "../../models/index.js";
import { Tensor } from "../../tensor/index.js";
import { textGradient } from "../../train/text-gradient.js";
import { type Check, RelativeRms } from "./compare.js";
import { type Golden, ReferenceTensors } from "./goldens-file.js";

/** goldens/README: ‖a − b‖ ≤ 1e-4 ‖b‖ + 1e-6 ‖all gradients‖. */
const RELATIVE = 1e-4;
const OF_ALL = 1e-6;
const LOSS = 1e-5;

const norm = (values: ArrayLike<number>) => Math.sqrt(Array.from(values).reduce((sum, x) => sum + x * x, 0));

/** @throws {ConfigError} the folder's golden has no gradients. */
export async function checkGradients(
  device: Device,
  folder: Folder,
  golden: Golden,
  configFile = "config.json",
): Promise<Check[]> {
  const gradient = golden.shape === "sequences" ? golden.data.gradient : undefined;
  if (!gradient) throw new ConfigError(`${folder.name}/golden.json`, ["gradient: there are no reference gradients"]);
  using model = await loadLanguageModel(device, folder, { configFile });
  await using reference = await ReferenceTensors.open(folder, "golden.safetensors");
  const { tensors = [] } = model;
  const trained = trainableTensors(tensors);
  const { loss, gradients } = textGradient(model, trained, [gradient.ids]);
  using value = loss;
  const error = Math.abs(((await value.readFloat32())[0] as number) - gradient.loss);
  const checks: Check[] = [
    {
      name: "gradient: loss",
      passed: error <= LOSS,
      detail: `absolute error ${error.toExponential(2)} (at most ${LOSS})`,
    },
  ];
  const read = new Map<Tensor, Float32Array>();
  for (const [i, tensor] of trained.entries()) {
    const own = gradients[i];
    // A parameter that the loss does not reach has the gradient zero.
    read.set(tensor, own ? await own.readFloat32() : new Float32Array(tensor.size));
    own?.dispose();
  }
  const wanted = new Map<string, Float64Array>();
  for (const { name } of tensors) wanted.set(name, await reference.values(`grad.${name}`));
  const all = Math.hypot(...[...wanted.values()].map(norm));
  for (const rows of tensors) {
    const { name, holder } = rows;
    const want = wanted.get(name) as Float64Array;
    const got = ownNumbers(rows, read.get(holder instanceof Tensor ? holder : holder.codes) as Float32Array);
    const difference = norm(want.map((x, i) => x - (got[i] as number)));
    const limit = RELATIVE * norm(want) + OF_ALL * all;
    const rms = new RelativeRms().add(got, want).value;
    checks.push({
      name: `gradient: ${name}`,
      passed: difference <= limit,
      detail: `relative RMS ${rms.toExponential(2)}, distance ${difference.toExponential(2)} (at most ${limit.toExponential(2)})`,
    });
  }
  return checks;
}
