/** The page's few icons. Decoration: the controls carry labels. */
import type { ComponentChildren } from "preact";

const Icon = ({ children }: { children: ComponentChildren }) => (
  <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
    {children}
  </svg>
);

export const Bolt = () => (
  <svg class="bolt" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
    <path d="M14.2 1.5 4.4 13.4c-.4.5-.1 1.2.6 1.2h5.6l-1.9 7.2c-.2.8.8 1.3 1.4.7l9.6-11.9c.4-.5.1-1.2-.6-1.2h-5.4l1.9-7.2c.2-.8-.8-1.3-1.4-.7Z" />
  </svg>
);

export const Send = () => (
  <Icon>
    <path d="M12 19V5m0 0-6 6m6-6 6 6" />
  </Icon>
);

export const Stop = () => (
  <Icon>
    <rect x="7" y="7" width="10" height="10" rx="2" fill="currentColor" />
  </Icon>
);

export const Pencil = () => (
  <Icon>
    <path d="M12 20h8M16.2 4.6a2 2 0 0 1 2.9 2.9L8 18.6 4 20l1.3-4.1z" />
  </Icon>
);

export const Sliders = () => (
  <Icon>
    <path d="M4 8h8m6 0h2M4 16h2m6 0h8" />
    <circle cx="15" cy="8" r="2.5" />
    <circle cx="9" cy="16" r="2.5" />
  </Icon>
);

export const Chevron = () => (
  <Icon>
    <path d="m9 6 6 6-6 6" />
  </Icon>
);

export const Cross = () => (
  <Icon>
    <path d="M6 6l12 12M18 6 6 18" />
  </Icon>
);
