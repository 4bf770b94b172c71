/** A rock in the sea, as in the page's icon. */
export function Logo() {
  return (
    <svg className="sk-logo" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="7" fill="#0b3d5c" />
      <path d="M6 19 12.5 9l4 5.5L19.5 11 26 19z" fill="#f2f6f8" />
      <path
        d="M5 22.5c2 1.7 3.7 1.7 5.7 0 2 1.7 3.7 1.7 5.6 0 2 1.7 3.7 1.7 5.6 0 2 1.7 3.2 1.7 5.1 0"
        fill="none"
        stroke="#7cc3e8"
        strokeWidth="2"
        strokeLinecap="round"
      />
    </svg>
  );
}
