/** metrics.jsonl: a line a step, and one a validation, appended as they come. */
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "../../formats/node/index.js";

export const METRICS_FILE = "metrics.jsonl";

export interface Metric {
  readonly step: number;
  readonly [name: string]: number | boolean | string;
}

export interface MetricsFile extends AsyncDisposable {
  add(metric: Metric): Promise<void>;
}

/** All lines of a run. A last line that a killed run has left half written is passed over. */
export async function readMetrics(out: string): Promise<Metric[]> {
  const text = await readFile(join(out, METRICS_FILE), "utf8").catch(() => "");
  return text.split("\n").flatMap((line) => {
    try {
      return line === "" ? [] : [JSON.parse(line) as Metric];
    } catch {
      return [];
    }
  });
}

/** Opens the file to go on after `step`: what an earlier run wrote of later steps is dropped, because they come again. */
export async function openMetrics(out: string, step: number): Promise<MetricsFile> {
  const path = join(out, METRICS_FILE);
  const before = (await readMetrics(out)).filter((metric) => metric.step <= step);
  const text = before.map((metric) => `${JSON.stringify(metric)}\n`).join("");
  await writeFileAtomic(path, (sink) => sink.write(new TextEncoder().encode(text)));
  const handle = await open(path, "a");
  return {
    add: async (metric) => void (await handle.appendFile(`${JSON.stringify(metric)}\n`)),
    [Symbol.asyncDispose]: () => handle.close(),
  };
}
