/** `window.__fulgur`: the engine at token level, for tests and for the browser's console. */
import type { EngineClient } from "./engine-client.js";
import type { GeneratedTokens, ModelInfo } from "./protocol.js";

export interface FulgurHook {
  /** Undefined while there is no model. */
  readonly info: ModelInfo | undefined;
  /** Continues a text, special tokens included, with the most probable tokens. */
  generate(prompt: string, maxTokens: number): Promise<GeneratedTokens>;
}

declare global {
  interface Window {
    __fulgur?: FulgurHook;
  }
}

export function showToTests(client: EngineClient, info: ModelInfo | undefined): void {
  window.__fulgur = { info, generate: (prompt, maxTokens) => client.generate(prompt, maxTokens) };
}
