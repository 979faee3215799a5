// Dark or light: as the system is set, or as the user chooses.

const CHOICES = ['auto', 'light', 'dark']
const KEPT = 'onetree-theme'

/** Makes the button change the theme, and keeps the choice in this browser. */
export function theme(button) {
  let choice = kept()
  const show = () => {
    if (choice === 'auto') delete document.documentElement.dataset.theme
    else document.documentElement.dataset.theme = choice
    button.textContent = { auto: '◐', light: '○', dark: '●' }[choice]
    button.title = `Colours: ${{ auto: 'as the system has them', light: 'light', dark: 'dark' }[choice]} (t)`
    button.setAttribute('aria-label', button.title)
  }
  button.addEventListener('click', () => {
    choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length]
    try {
      localStorage.setItem(KEPT, choice)
    } catch {
      // A browser that stores nothing forgets the choice.
    }
    show()
  })
  show()
}

function kept() {
  try {
    const choice = localStorage.getItem(KEPT)
    return CHOICES.includes(choice) ? choice : 'auto'
  } catch {
    return 'auto'
  }
}
