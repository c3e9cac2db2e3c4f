/**
 * The page in Chromium: the same tokens as Node, on the CPU's threads, on one thread, and on WebGPU in software; and a walk
 * through the page as a user takes it.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Browser, type BrowserContext, chromium } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { SequencePool } from "../src/cache/index.js";
import { CpuDevice } from "../src/device/index.js";
import { greedyRequest, loadModel } from "../src/generate/index.js";
import { buildStep } from "../src/nn/index.js";
import { type RunningServer, startServer } from "../src/serve/index.js";
import { scriptedSource } from "./scripted-source.js";

const fromRoot = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const chromiumPath = "/usr/bin/chromium";
const pageFolder = fromRoot("dist/web");
const modelFolder = fromRoot("models/fulgur-mini");

const question = "What is 347 + 58?";
const tokenCount = 24;
/** In software a token takes most of a second. */
const webgpuTokenCount = 12;
/** Most of it is waiting for other processes on a busy machine, and for SwiftShader's compiler. */
const patienceMs = 300_000;
/** Where the two best logits are closer than this, devices may part without being wrong. */
const closeMargin = 0.05;
/** A folder to look at the page in. */
const screenshots = process.env.FULGUR_SCREENSHOTS;

/** What the page shows to tests: src/web/test-hook.ts. */
interface Hook {
  readonly info: { readonly device: string; readonly notes: readonly string[] } | undefined;
  generate(prompt: string, maxTokens: number): Promise<{ readonly ids: number[] }>;
}
interface Window {
  readonly __fulgur?: Hook;
  readonly crossOriginIsolated: boolean;
}

const isRunnable = existsSync(chromiumPath);
if (!isRunnable) console.warn(`skipped: the page in Chromium (there is no ${chromiumPath})`);

describe.skipIf(!isRunnable)("the page", { timeout: patienceMs }, () => {
  let browser: Browser;
  let server: RunningServer;
  let reference: Reference;

  beforeAll(async () => {
    if (!existsSync(join(pageFolder, "index.html"))) throw new Error("dist/web is missing: run `npm run build`");
    server = await startServer({
      source: scriptedSource(), // the page brings its own engine and asks for files alone
      host: "127.0.0.1",
      port: 0,
      folders: [
        { at: "/models/", folder: fromRoot("models") },
        { at: "/", folder: pageFolder },
      ],
    });
    browser = await chromium.launch({
      executablePath: chromiumPath,
      args: ["--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"],
    });
    reference = await nodeReference();
  }, patienceMs);

  afterAll(async () => {
    await browser?.close();
    await server?.close();
  });

  test("on the CPU with threads gives Node's tokens", async () => {
    await using page = await openPage(browser, `${server.url}/?device=cpu&threads=2`);
    const info = await page.ready();
    expect(info.device).toMatch(/WebAssembly .*2 threads/);
    expect(info.notes).toEqual([]);
    // biome-ignore format: runs in the page
    expect(await page.page.evaluate(() => (globalThis as unknown as Window).crossOriginIsolated)).toBe(true);
    expectAgreement(await page.generate(reference.prompt, tokenCount), reference);
  });

  test("without isolation falls back to one thread, says so, and gives Node's tokens", async () => {
    await using page = await openPage(browser, `${server.url}/?device=cpu`, async (context) => {
      await context.route("**/?*", async (route) => {
        const response = await route.fetch();
        const headers = { ...response.headers() };
        delete headers["cross-origin-embedder-policy"];
        await route.fulfill({ response, headers });
      });
    });
    const info = await page.ready();
    expect(info.device).toMatch(/1 thread$/);
    await page.page.getByText("does not isolate this page").waitFor();
    expectAgreement(await page.generate(reference.prompt, tokenCount), reference);
  });

  test("says what is missing, tries again, chats, stops and starts anew", async () => {
    await using opened = await openPage(browser, `${server.url}/?device=cpu&threads=2`, async (context) => {
      await context.route("**/models/**", (route) => route.fulfill({ status: 404 }));
    });
    const { page } = opened;
    await page.getByRole("alert").getByText("no such file").waitFor();
    await page.context().unrouteAll();
    await page.getByRole("button", { name: "Try again" }).click();
    await opened.ready();

    const field = page.getByLabel("Your question");
    await field.fill(question);
    await field.press("Shift+Enter");
    expect(await field.inputValue()).toBe(`${question}\n`);
    await field.fill(question);
    await field.press("Enter");
    const turn = page.locator(".turn").last();
    await turn.getByText("Thinking").waitFor();
    await turn.getByText(/tokens · .* tokens\/s/).waitFor();
    expect(await turn.locator(".thought").textContent()).toMatch(/^From the right/);
    expect(await turn.locator(".answer").textContent()).not.toBe("");
    await turn.getByText(/^Thought/).click();
    expect(await turn.locator(".thought").isVisible()).toBe(false);
    if (screenshots) await page.screenshot({ path: join(screenshots, "answer.png") });

    await field.fill("Tell me a story about a fox.");
    await field.press("Enter");
    await page.getByRole("button", { name: "Stop" }).waitFor();
    await page.locator(".turn").last().locator(".answer").waitFor();
    await page.keyboard.press("Escape");
    await page
      .locator(".turn")
      .last()
      .getByText(/^stopped/)
      .waitFor();
    if (screenshots) await page.screenshot({ path: join(screenshots, "stopped.png") });

    await page.getByRole("button", { name: "New chat" }).click();
    expect(await page.locator(".turn").count()).toBe(0);
    await page.getByRole("button", { name: "What is 23 * 47?" }).waitFor();
  });

  // Last: SwiftShader compiles for long, and what it has left to do would slow the others.
  test("on WebGPU gives Node's tokens", async (context) => {
    await using page = await openPage(browser, `${server.url}/?device=webgpu`);
    const info = await page.ready();
    if (info.notes.some((note) => note.includes("no WebGPU")) && process.env.FULGUR_REQUIRE_WEBGPU !== "1") {
      console.warn("skipped: the page on WebGPU (this Chromium gives no adapter)");
      context.skip();
    }
    expect(info.device).toContain("WebGPU");
    expectAgreement(await page.generate(reference.prompt, webgpuTokenCount), reference);
  });
});

interface Reference {
  readonly prompt: string;
  readonly ids: readonly number[];
  /** Tokens before the first place where the two best are close. */
  readonly certain: number;
}

/** The greedy tokens of Node's CPU device, and how many of them leave no doubt. */
async function nodeReference(): Promise<Reference> {
  await using device = await CpuDevice.open({ threads: 2 });
  await using model = await loadModel(modelFolder, { device, slots: 1 });
  const { engine, tokenizer, language, generation } = model;
  const prompt = model.template?.render([{ role: "user", content: question }], { addGenerationPrompt: true }) ?? "";
  const promptIds = tokenizer.encode(prompt);
  const ids: number[] = [];
  const tokens = engine.generate(greedyRequest(promptIds, tokenCount, { stopIds: generation.stopIds }));
  for await (const { id } of tokens) ids.push(id);

  using pool = new SequencePool(device, language.state, { slots: 1, maxTokens: 1024 });
  using sequence = pool.open();
  const all = [...promptIds, ...ids];
  sequence.reserve(all.length);
  using step = buildStep(device, [{ slot: sequence.slot, past: 0, ids: all }]);
  using logits = language.forward(step, pool, { logits: "all" });
  const values = (await logits.read()) as Float32Array; // logits are float32
  const V = language.vocabSize;
  const margins = ids.map((_, i) => {
    const row = (promptIds.length - 1 + i) * V;
    return marginOf(values.subarray(row, row + V));
  });
  const firstClose = margins.findIndex((margin) => margin < closeMargin);
  return { prompt, ids, certain: firstClose < 0 ? ids.length : firstClose };
}

function marginOf(row: Float32Array): number {
  let best = Number.NEGATIVE_INFINITY;
  let second = Number.NEGATIVE_INFINITY;
  for (const value of row) {
    if (value > best) [best, second] = [value, best];
    else if (value > second) second = value;
  }
  return best - second;
}

function expectAgreement(got: readonly number[], { ids, certain }: Reference): void {
  const compared = Math.min(certain, got.length);
  // Fewer would compare next to nothing.
  expect(compared).toBeGreaterThanOrEqual(webgpuTokenCount / 2);
  expect(got.slice(0, compared)).toEqual(ids.slice(0, compared));
}

async function openPage(browser: Browser, url: string, prepare?: (context: BrowserContext) => Promise<void>) {
  const context = await browser.newContext();
  context.setDefaultTimeout(patienceMs);
  await prepare?.(context);
  const page = await context.newPage();
  const failures: string[] = [];
  page.on("pageerror", (error) => failures.push(error.message));
  await page.goto(url);
  return {
    page,
    /** Waits for the model; a failure that the page shows ends the wait. */
    async ready(): Promise<NonNullable<Hook["info"]>> {
      const alert = page.getByRole("alert");
      const info = page.waitForFunction(() => (globalThis as unknown as Window).__fulgur?.info);
      const failed = alert.waitFor().then(async () => {
        throw new Error(`the page says: ${await alert.textContent()}`);
      });
      info.catch(() => {});
      failed.catch(() => {});
      const handle = await Promise.race([info, failed]);
      const value = await handle.jsonValue();
      if (!value) throw new Error("internal: the wait ended without a model");
      return value;
    },
    async generate(prompt: string, maxTokens: number): Promise<number[]> {
      const { ids } = await page.evaluate(
        ([text, most]) => {
          const hook = (globalThis as unknown as Window).__fulgur;
          if (!hook) throw new Error("the page has no engine");
          return hook.generate(text, most);
        },
        [prompt, maxTokens] as const,
      );
      return ids;
    },
    async [Symbol.asyncDispose]() {
      await context.close();
      expect(failures).toEqual([]);
    },
  };
}
