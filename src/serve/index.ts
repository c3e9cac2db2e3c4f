export { type AppOptions, createApp } from "./app.js";
export { type ChatSource, modelSource } from "./chat-source.js";
export { ListenError, type RunningServer, type ServerOptions, startServer } from "./server.js";
export type { StaticFolder } from "./static.js";
