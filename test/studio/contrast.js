/** Texts whose contrast with what is behind them is under WCAG's 4.5. Runs in the page. */
;(() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true })
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1)
    canvas.fillStyle = colour
    canvas.fillRect(0, 0, 1, 1)
    return [...canvas.getImageData(0, 0, 1, 1).data]
  }
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) =>
      v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4,
    )
    return 0.2126 * x + 0.7152 * y + 0.0722 * z
  }
  const found = []
  for (const element of document.querySelectorAll('body *')) {
    const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim())
    if (!text || element.getClientRects().length === 0 || element.disabled) continue
    const style = getComputedStyle(element)
    if (style.clipPath !== 'none' || element.closest('.hidden, .skip')) continue
    let behind = element
    while (behind && rgb(getComputedStyle(behind).backgroundColor)[3] < 250) behind = behind.parentElement
    const [one, two] = [
      light(rgb(style.color)),
      light(rgb(getComputedStyle(behind ?? document.body).backgroundColor)),
    ]
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05)
    if (ratio < 4.5)
      found.push(`${element.tagName} ${element.textContent.trim().slice(0, 30)} ${ratio.toFixed(2)}`)
  }
  return found
})()
