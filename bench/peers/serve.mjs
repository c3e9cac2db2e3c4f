/**
 * The part that peers share: requests in, seconds out, a line each.
 *
 * A suite is a function of the request that gives `{ run, count, end }`: `run` does the work `count` times (default 1) and may
 * be async; it is warmed up once. A suite gives undefined where the library has no such thing.
 */
import { createInterface } from "node:readline";

/** A run lasts at least this long. */
const leastSeconds = 0.02;

export async function serve(label, suites) {
  const answer = (object) => process.stdout.write(`${JSON.stringify(object)}\n`);
  answer({ label });
  let last;
  let work;
  for await (const line of createInterface({ input: process.stdin })) {
    try {
      if (line !== last) {
        await work?.end?.();
        work = undefined;
        last = undefined;
        const request = JSON.parse(line);
        work = await suites[request.suite]?.(request);
        last = line;
        if (work) {
          await work.run();
          const once = await seconds(work.run, 1);
          work.repeats = Math.max(1, Math.min(1000, Math.ceil(leastSeconds / once)));
        }
      }
      if (work) answer({ seconds: (await seconds(work.run, work.repeats)) / (work.count ?? 1) });
      else answer({ skip: true });
    } catch (error) {
      answer({ error: String(error?.message ?? error) });
    }
  }
  await work?.end?.();
}

async function seconds(run, repeats) {
  const began = performance.now();
  for (let i = 0; i < repeats; i++) await run();
  return (performance.now() - began) / 1000 / repeats;
}

/** Numbers in ±1, the same every time. */
export function values(count) {
  let state = 1;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/** The version of an installed package; the working directory is the folder with node_modules. */
export async function versionOf(name) {
  const { readFile } = await import("node:fs/promises");
  return JSON.parse(await readFile(`node_modules/${name}/package.json`, "utf8")).version;
}
