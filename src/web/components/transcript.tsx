import { useLayoutEffect, useRef } from "preact/hooks";
import { type Conversation, isOpen } from "../conversation.js";
import { TurnView } from "./turn.js";

interface TranscriptProps {
  readonly conversation: Conversation;
  readonly canAskAgain: boolean;
  onAskAgain(): void;
}

/** Pixels from the end within which the reader counts as following the text. */
const FOLLOW_PX = 80;

/** The conversation. It follows new text while the reader is at its end, and stays where the reader has scrolled to. */
export function Transcript({ conversation, canAskAgain, onAskAgain }: TranscriptProps) {
  const box = useRef<HTMLElement>(null);
  const isFollowing = useRef(true);
  const count = useRef(0);

  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    // A new question always comes into view.
    if (conversation.length > count.current) isFollowing.current = true;
    count.current = conversation.length;
    if (isFollowing.current) element.scrollTop = element.scrollHeight;
  }, [conversation]);

  return (
    <main
      class="scroll"
      ref={box}
      onScroll={({ currentTarget: { scrollHeight, scrollTop, clientHeight } }) => {
        isFollowing.current = scrollHeight - scrollTop - clientHeight < FOLLOW_PX;
      }}
    >
      {/* While busy, screen readers wait: they read the answer when it is whole. */}
      <div role="log" aria-live="polite" aria-label="Conversation" aria-busy={isOpen(conversation.at(-1))}>
        <ol class="turns">
          {conversation.map((turn, i) => (
            <TurnView
              key={turn.id}
              turn={turn}
              onAskAgain={canAskAgain && i === conversation.length - 1 ? onAskAgain : undefined}
            />
          ))}
        </ol>
      </div>
    </main>
  );
}
