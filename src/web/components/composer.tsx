import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Send, Stop } from "./icons.js";

interface ComposerProps {
  readonly canSend: boolean;
  readonly isAnswering: boolean;
  onSend(question: string): void;
  onStop(): void;
}

/** Where the question is written. Enter sends, Shift+Enter breaks the line. */
export function Composer({ canSend, isAnswering, onSend, onStop }: ComposerProps) {
  const [text, setText] = useState("");
  const field = useRef<HTMLTextAreaElement>(null);
  const isReady = canSend && !isAnswering && text.trim() !== "";

  // The field grows with its text up to the limit of the style sheet.
  useLayoutEffect(() => {
    const element = field.current;
    if (!element) return;
    element.style.height = "auto";
    element.style.height = `${element.scrollHeight}px`;
  }, [text]);

  useEffect(() => {
    // On touch screens the focus would open the keyboard over the page.
    if (canSend && !matchMedia("(pointer: coarse)").matches) field.current?.focus();
  }, [canSend]);

  const send = () => {
    if (!isReady) return;
    onSend(text.trim());
    setText("");
  };
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <textarea
        ref={field}
        rows={1}
        value={text}
        placeholder="Ask something"
        aria-label="Your question"
        aria-describedby="keys"
        enterkeyhint="send"
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={(event) => {
          // While an input method composes, Enter chooses a candidate.
          if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
          event.preventDefault();
          send();
        }}
      />
      {isAnswering ? (
        <button type="button" class="round" onClick={onStop} aria-label="Stop" title="Stop (Esc)">
          <Stop />
        </button>
      ) : (
        <button type="submit" class="round" disabled={!isReady} aria-label="Send" title="Send (Enter)">
          <Send />
        </button>
      )}
      <span id="keys" class="sr-only">
        Enter sends, Shift and Enter begin a new line, Escape stops the answer.
      </span>
    </form>
  );
}
