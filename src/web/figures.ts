/** Numbers as people read them. */

const grouped = new Intl.NumberFormat("en");

export const countText = (n: number): string => grouped.format(n);

export function bytesText(bytes: number): string {
  return bytes < 1e6
    ? `${(bytes / 1e3).toFixed(0)} kB`
    : bytes < 1e9
      ? `${(bytes / 1e6).toFixed(1)} MB`
      : `${(bytes / 1e9).toFixed(2)} GB`;
}

export function parametersText(n: number): string {
  return n < 1e6 ? `${(n / 1e3).toFixed(0)} K` : n < 1e9 ? `${(n / 1e6).toFixed(1)} M` : `${(n / 1e9).toFixed(1)} B`;
}

export const speedText = (perSecond: number): string => `${perSecond.toFixed(perSecond < 10 ? 1 : 0)} tokens/s`;

export const tokensText = (n: number): string => `${countText(n)} ${n === 1 ? "token" : "tokens"}`;

export const timeText = (ms: number): string => (ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`);
