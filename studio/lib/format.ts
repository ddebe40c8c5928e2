/** Numbers and texts for people. */
export const percent = (logprob: number | null): string => {
  if (logprob === null || Number.isNaN(logprob)) return '–'
  const share = 100 * Math.exp(logprob)
  return share >= 10 ? `${share.toFixed(0)} %` : share >= 0.1 ? `${share.toFixed(1)} %` : '< 0.1 %'
}
export const short = (x: number | null | undefined, digits = 3): string =>
  x === null || x === undefined || Number.isNaN(x)
    ? '–'
    : Math.abs(x) >= 1000
      ? x.toFixed(0)
      : `${Number(x.toPrecision(digits))}`
/** A token with its spaces and line ends to be seen. */
export const visible = (text: string): string => text.replaceAll('\n', '⏎').replaceAll(' ', '␣')
/** For a shell. */
export const quoted = (text: string): string =>
  /^[\w./:=,@-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
export const lines = (text: string): string[] =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
