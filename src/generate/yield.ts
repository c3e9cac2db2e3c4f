/**
 * Gives timers, sockets and signals a turn. Awaiting a settled promise does not: on the CPU device every read settles at
 * once, and a generation would hold the event loop until its end.
 */
export function yieldToEvents(): Promise<void> {
  if (typeof globalThis.setImmediate === "function") return new Promise((resolve) => globalThis.setImmediate(resolve));
  // A page's timers are clamped to 4 ms when they nest; a message is not.
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    const onMessage = () => {
      port1.close();
      resolve();
    };
    // Node's types know its own MessagePort only; this branch runs in a page.
    (port1 as unknown as { onmessage: () => void }).onmessage = onMessage;
    port2.postMessage(null);
  });
}
