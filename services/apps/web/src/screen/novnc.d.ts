// The parts of noVNC that this page uses; it brings no types of its own.

declare module "@novnc/novnc" {
  export default class RFB extends EventTarget {
    /** Draws into the element what comes over the socket, until either end is done. */
    constructor(element: HTMLElement, socket: WebSocket, options?: { shared?: boolean });
    scaleViewport: boolean;
    background: string;
    focus(): void;
    sendCtrlAltDel(): void;
    disconnect(): void;
  }
}
