import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Device, open } from "../../device/index.js";
import { checkFolder, type FolderCheck } from "./check-folder.js";

let root: string;
let device: Device;
beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), "fulgur-goldens-"));
  device = await open({ prefer: "cpu", cpu: { threads: 1 } });
});
afterEach(async () => {
  await device.close();
  rmSync(root, { recursive: true });
});

const write = (file: string, json: unknown) => {
  mkdirSync(join(root, file, ".."), { recursive: true });
  writeFileSync(join(root, file), JSON.stringify(json));
};

async function lines(): Promise<FolderCheck[]> {
  const all: FolderCheck[] = [];
  for await (const check of checkFolder(device, root)) all.push(check);
  return all;
}

describe("folders of reference values", () => {
  test("a file that cannot be checked is one failed line, and the others are checked", async () => {
    write("ops/fill.json", { first_values: { "0": [-1] } });
    write("ops/slopes.json", { official: { "1": "steep" } });
    write("ops/rope.json", {});
    const found = await lines();
    expect(found.map(({ name, passed }) => [name, passed])).toEqual([
      ["fill stream 0", true],
      ["slopes could not be checked", false],
      ["rope", false],
    ]);
    for (const { detail } of found) expect(detail).not.toContain("\n");
    expect(found[1]?.detail).toMatch(/^slopes\.json: official\.1: /);
  });

  test("a part of a file's tables is enough", async () => {
    // 2^(−8 (h + 1) / H), Press et al. 2021.
    const official = { "2": [0.0625, 0.00390625] };
    write("ops/slopes.json", { official });
    expect((await lines()).map(({ name, passed }) => [name, passed])).toEqual([["slopes official 2 heads", true]]);
  });

  test("unknown folders are skipped, links that point nowhere are left out", async () => {
    write("strange/values.json", {});
    symlinkSync(join(root, "nowhere"), join(root, "dangling"));
    expect((await lines()).map(({ folder, skipped }) => [folder, skipped])).toEqual([["strange", true]]);
  });
});
