/**
 * Conversations as documents: rendered by the tokenizer's chat template, with the loss on the assistant's answers alone.
 *
 * What the assistant wrote is found by rendering: the text up to its header (`addGenerationPrompt`) is its prompt, and what the
 * template adds when the answer is there is the answer, the end token with it.
 *
 * Our choice  templates that rewrite earlier turns (they drop old thoughts) cannot have all answers in one document: then each
 *             answer gets a document of its own, with the turns before it as the template shows them there.
 */
import { type ChatMessage, type ChatTemplate, ChatTemplateError } from "../../text/index.js";
import type { Stretch } from "./encode-document.js";

/** Options of {@link conversationDocuments}. */
export interface ConversationOptions {
  /** Count every token, not the answers alone. Default false. */
  readonly lossOnAll?: boolean;
  readonly tools?: readonly unknown[] | undefined;
}

/**
 * The documents of one conversation: usually one.
 *
 * @throws {ChatTemplateError} a message is malformed, there is no answer, or the template shows an answer without its prompt.
 */
export function conversationDocuments(
  messages: readonly ChatMessage[],
  template: ChatTemplate,
  { lossOnAll = false, tools }: ConversationOptions = {},
): Stretch[][] {
  const options = tools === undefined ? {} : { tools };
  const whole = template.render(messages, options);
  const answers = messages.flatMap(({ role }, index) => (role === "assistant" ? [index] : []));
  if (answers.length === 0) {
    throw new ChatTemplateError('chat: messages expected an answer (role "assistant") to train on, got none.');
  }
  if (lossOnAll) return [[{ text: whole, loss: true }]];

  const parts = answers.map((index) => {
    const prompt = template.render(messages.slice(0, index), { ...options, addGenerationPrompt: true });
    // Without the line break that templates write after the end token: the model has stopped by then.
    const through = template.render(messages.slice(0, index + 1), options).trimEnd();
    if (!through.startsWith(prompt)) {
      throw new ChatTemplateError(
        `chat template: shows messages[${index}] in a way that does not begin with its own prompt, so the answer's place is not known.`,
      );
    }
    return { prompt, through };
  });

  const stretches: Stretch[] = [];
  let done = 0;
  for (const { prompt, through } of parts) {
    const isInOrder = prompt.length >= done && whole.startsWith(through);
    if (!isInOrder) return parts.map((part) => alone(part));
    stretches.push({ text: whole.slice(done, prompt.length), loss: false });
    stretches.push({ text: whole.slice(prompt.length, through.length), loss: true });
    done = through.length;
  }
  // What follows the last answer is context for nobody.
  return [stretches];
}

const alone = ({ prompt, through }: { prompt: string; through: string }): Stretch[] => [
  { text: prompt, loss: false },
  { text: through.slice(prompt.length), loss: true },
];
