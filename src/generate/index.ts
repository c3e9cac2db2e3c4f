export {
  type ChatOptions,
  type ChatPart,
  chat,
  complete,
  type GenerateOptions,
  NoChatTemplateError,
  type Timings,
  type Usage,
} from "./chat.js";
export { Engine, type EngineOptions, type Generation } from "./engine.js";
export type { GenerationConfig } from "./generation-config.js";
export { type LoadOptions, type LoadTimings, loadModel, type Model } from "./load-model.js";
export {
  type FinishReason,
  greedyRequest,
  PromptIdError,
  PromptTooLongError,
  type RepetitionStop,
  type SamplingOptions,
  type TokenEvent,
  type TokenRequest,
} from "./request.js";
export { assistantContent, type ThinkingMarkers } from "./thinking.js";
export { yieldToEvents } from "./yield.js";
