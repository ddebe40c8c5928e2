/** What Vite gives the pages. */
interface ImportMeta {
  readonly env: { readonly MODE: string }
}
declare module '*.css'
