// Chooses the screen: before sign-in by the session's phase, after it by the address.

import { Boundary } from "./components/Boundary";
import { Shell } from "./components/Shell";
import { NoticesProvider } from "./components/Notices";
import { NodeProvider } from "./node";
import { Alarms } from "./pages/Alarms";
import { Claim } from "./pages/Claim";
import { Images } from "./pages/Images";
import { Jobs } from "./pages/Jobs";
import { Login } from "./pages/Login";
import { Overview } from "./pages/Overview";
import { Pods } from "./pages/Pods";
import { Registries } from "./pages/Registries";
import { Vms } from "./pages/Vms";
import { Volumes } from "./pages/Volumes";
import { Waiting } from "./pages/Waiting";
import { type Place, useRoute } from "./route";
import { SessionProvider, useSession } from "./session";

const pages: Record<Place, () => React.ReactNode> = {
  overview: Overview,
  vms: Vms,
  pods: Pods,
  volumes: Volumes,
  images: Images,
  registries: Registries,
  jobs: Jobs,
  alarms: Alarms,
};

export function App() {
  return (
    <Boundary>
      <SessionProvider>
        <Screen />
      </SessionProvider>
    </Boundary>
  );
}

function Screen() {
  const { phase } = useSession();
  switch (phase.at) {
    case "waiting":
      return <Waiting problem={phase.problem} />;
    case "claim":
      return <Claim health={phase.health} />;
    case "login":
      return <Login health={phase.health} notice={phase.notice} />;
    case "in":
      return <SignedIn />;
  }
}

function SignedIn() {
  const { place } = useRoute();
  const Page = pages[place];
  return (
    <NodeProvider>
      <NoticesProvider>
        <Shell>
          <Boundary key={place}>
            <Page />
          </Boundary>
        </Shell>
      </NoticesProvider>
    </NodeProvider>
  );
}
