// The frame of the screens before the page: one card in the middle.

import { Card, CardBody, CardTitle, Title } from "../patternfly";
import type { ReactNode } from "react";
import { Logo } from "./Logo";

export function Frame({ title, node, children }: { title: string; node?: string; children: ReactNode }) {
  return (
    <main className="sk-frame">
      <div className="sk-frame-brand">
        <Logo />
        <span>Skerry</span>
        {node ? <span className="sk-none">{node}</span> : null}
      </div>
      <Card className="sk-frame-card" isLarge>
        <CardTitle>
          <Title headingLevel="h1" size="xl">
            {title}
          </Title>
        </CardTitle>
        <CardBody>{children}</CardBody>
      </Card>
    </main>
  );
}
