/** The engine and the conversation as the page's state. */
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { applyEvent, askedTurn, type Conversation, failOpen, isOpen, messagesFor } from "./conversation.js";
import { EngineClient } from "./engine-client.js";
import type { FromWorker, LoadRequest, LoadStage, ModelInfo } from "./protocol.js";
import { chatSettings, type Settings } from "./settings.js";
import { showToTests } from "./test-hook.js";

export type EngineState =
  | { readonly phase: "loading"; readonly stage: LoadStage; readonly done: number; readonly total: number }
  | { readonly phase: "ready"; readonly info: ModelInfo }
  | { readonly phase: "failed"; readonly message: string };

export interface EngineView {
  readonly engine: EngineState;
  readonly conversation: Conversation;
  readonly isAnswering: boolean;
  ask(question: string): void;
  stop(): void;
  /** Asks the last question again. */
  askAgain(): void;
  clear(): void;
  /** Starts over with a fresh worker; the conversation stays. */
  reload(): void;
}

const starting: EngineState = { phase: "loading", stage: "device", done: 0, total: 0 };

/** `request`: what to load; an error of the address instead is shown and loads nothing. */
export function useEngine(request: LoadRequest | Error, settings: Settings): EngineView {
  const [engine, setEngine] = useState<EngineState>(starting);
  const [conversation, setConversation] = useState<Conversation>([]);

  const client = useMemo(() => new EngineClient((event) => listen(event, setEngine, setConversation)), []);
  const reload = useCallback(() => {
    setConversation((turns) => failOpen(turns, "The engine was started anew."));
    if (request instanceof Error) {
      setEngine({ phase: "failed", message: request.message });
      return;
    }
    setEngine(starting);
    client.load(request);
    // The address does not change while the page is open: only the device does.
  }, [client, request instanceof Error ? request.message : request.device]);
  useEffect(() => {
    reload();
    return () => client.close();
  }, [reload]);

  const info = engine.phase === "ready" ? engine.info : undefined;
  useEffect(() => showToTests(client, info), [client, info]);

  const last = conversation.at(-1);
  const isAnswering = isOpen(last);
  // Read by callbacks that outlive a render.
  const now = useRef({ conversation, settings });
  now.current = { conversation, settings };

  const send = (past: Conversation, question: string) => {
    const id = client.chat(messagesFor(past, question), chatSettings(now.current.settings));
    setConversation([...past, askedTurn(id, question)]);
  };
  return {
    engine,
    conversation,
    isAnswering,
    ask: (question) => {
      if (engine.phase === "ready" && !isAnswering) send(now.current.conversation, question);
    },
    stop: () => {
      if (last && isAnswering) client.stop(last.id);
    },
    askAgain: () => {
      if (engine.phase === "ready" && last && !isAnswering) send(now.current.conversation.slice(0, -1), last.question);
    },
    clear: () => {
      if (last && isAnswering) client.stop(last.id);
      setConversation([]);
    },
    reload,
  };
}

function listen(
  event: FromWorker,
  setEngine: (state: EngineState) => void,
  setConversation: (change: (turns: Conversation) => Conversation) => void,
): void {
  switch (event.type) {
    case "progress":
      setEngine({ phase: "loading", stage: event.stage, done: event.done, total: event.total });
      break;
    case "ready":
      setEngine({ phase: "ready", info: event.info });
      break;
    case "failed":
      setConversation((turns) => failOpen(turns, event.message));
      setEngine({ phase: "failed", message: event.message });
      break;
    case "generated":
      break; // answered to its caller already
    default:
      setConversation((turns) => applyEvent(turns, event, performance.now()));
  }
}
