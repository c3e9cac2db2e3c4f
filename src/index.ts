/** Fulgur: long-context models in TypeScript, on WebGPU and WebAssembly. Everything here is re-exported by storey too. */
export * from "./device/index.js";
export * from "./generate/index.js";
export { type LanguageModel, loadLanguageModel } from "./models/index.js";
export type { ChatMessage } from "./text/index.js";
