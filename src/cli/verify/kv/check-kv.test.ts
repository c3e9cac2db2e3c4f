import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { CpuDevice } from "../../../device/index.js";
import { checkFolder } from "../check-folder.js";

/** A part of the reference values: transforms, the quantiser's corners, a page in each layout. */
const folder = fileURLToPath(new URL("../../../../test/fixtures/kv", import.meta.url));

test("transforms, corners and page images are the reference's", async () => {
  await using device = await CpuDevice.open({ threads: 2 });
  const found = [];
  for await (const check of checkFolder(device, folder)) found.push(check);
  expect(found.filter(({ passed, skipped }) => !passed || skipped)).toEqual([]);
  expect(found.length).toBe(7 + 3 * 12 + 2);
});
