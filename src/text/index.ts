/** Text: tokenizer, streaming detokeniser, chat templates, reasoning, stop strings, tool calls. */
export {
  type ChatMessage,
  type ChatTemplate,
  ChatTemplateError,
  type ContentPart,
  checkMessages,
  type RenderOptions,
} from "./chat-messages.js";
export { type ChatTemplateOptions, chatTemplateFromConfig, createChatTemplate } from "./chat-template.js";
export { createDetokenizer, type Detokenizer } from "./detokenizer.js";
export { createMinimaxM1ChatTemplate, type MinimaxM1ChatOptions, minimaxM1Tokens } from "./minimax-m1-chat.js";
export { pythonJson } from "./python-json.js";
export { checkTokenizerFiles, checkTokenizerReference, type ReferenceReport } from "./reference-check.js";
export { createStopMatcher, type StopMatch, type StopMatcher } from "./stop-strings.js";
export {
  createThinkParser,
  mergePieces,
  type ThinkParser,
  type ThinkParserOptions,
  type ThinkPiece,
} from "./think-parser.js";
export { createTokenizer, type DecodeOptions, type EncodeOptions, type Tokenizer } from "./tokenizer.js";
export { TokenizerError } from "./tokenizer-error.js";
export { formatToolCalls, type ParsedToolCalls, parseToolCalls, type ToolCall } from "./tool-calls.js";
