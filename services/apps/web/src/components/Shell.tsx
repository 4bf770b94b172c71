// The page around the pages: head with node and account, navigation, banner.

import {
  Badge,
  Button,
  Dropdown,
  DropdownItem,
  DropdownList,
  Masthead,
  MastheadBrand,
  MastheadContent,
  MastheadMain,
  MastheadToggle,
  MenuToggle,
  Nav,
  NavItem,
  NavList,
  Page,
  PageSidebar,
  PageSidebarBody,
  SkipToContent,
} from "../patternfly";
import BarsIcon from "@patternfly/react-icons/dist/esm/icons/bars-icon";
import { type ReactNode, useEffect, useState } from "react";
import { api, isUnauthenticated } from "../api/client";
import { useNode } from "../node";
import { type Place, routeHref, useRoute } from "../route";
import { useSession, usePrincipal } from "../session";
import { ConnectionBanner } from "./ConnectionBanner";
import { Logo } from "./Logo";
import { useNotices } from "./Notices";

export const titles: Record<Place, string> = {
  overview: "Overview",
  vms: "Virtual machines",
  pods: "Containers",
  volumes: "Volumes",
  images: "Images",
  registries: "Registries",
  jobs: "Jobs",
  alarms: "Alarms",
};

export function Shell({ children }: { children: ReactNode }) {
  const { summary, alarms } = useNode();
  const { place } = useRoute();
  // Open beside the page where there is room, closed over it where there is not.
  const [mobile, setMobile] = useState<boolean | null>(null);
  const [open, setOpen] = useState(false);
  const name = summary?.hostname ?? "";
  const active = alarms.filter((alarm) => !alarm.status?.cleared).length;

  useEffect(() => {
    document.title = `${titles[place]} · ${name || "Skerry"}`;
  }, [place, name]);

  const resized = (_event: unknown, { mobileView }: { mobileView: boolean }) => {
    if (mobileView === mobile) return;
    setMobile(mobileView);
    setOpen(!mobileView);
  };
  const toContent = () => document.getElementById("content")?.focus();
  const chosen = () => {
    if (mobile) setOpen(false);
  };
  const masthead = (
    <Masthead className="sk-masthead" display={{ default: "inline" }}>
      <MastheadMain>
        <MastheadToggle>
          <Button
            variant="plain"
            aria-label="Navigation"
            aria-expanded={open}
            onClick={() => setOpen(!open)}
            icon={<BarsIcon />}
          />
        </MastheadToggle>
        <MastheadBrand>
          <a href={routeHref("overview")} className="sk-brand">
            <Logo />
            <span className="sk-brand-name">{name || "Skerry"}</span>
          </a>
        </MastheadBrand>
      </MastheadMain>
      <MastheadContent>
        <Account />
      </MastheadContent>
    </Masthead>
  );
  const sidebar = (
    <PageSidebar isSidebarOpen={open}>
      <PageSidebarBody>
        <Nav aria-label="Pages" onSelect={chosen}>
          <NavList>
            {(Object.keys(titles) as Place[]).map((each) => (
              <NavItem key={each} itemId={each} isActive={each === place} to={routeHref(each)}>
                {titles[each]}
                {each === "alarms" && active > 0 ? (
                  <Badge className="sk-count" screenReaderText="active">
                    {active}
                  </Badge>
                ) : null}
              </NavItem>
            ))}
          </NavList>
        </Nav>
      </PageSidebarBody>
    </PageSidebar>
  );
  return (
    <Page
      masthead={masthead}
      sidebar={sidebar}
      mainContainerId="content"
      mainTabIndex={-1}
      isContentFilled
      onPageResize={resized}
      skipToContent={
        <SkipToContent
          href="#content"
          onClick={(event) => {
            // The address belongs to the route.
            event.preventDefault();
            toContent();
          }}
        >
          Skip to content
        </SkipToContent>
      }
    >
      <ConnectionBanner />
      {children}
    </Page>
  );
}

function Account() {
  const { ended } = useSession();
  const { username, role } = usePrincipal();
  const notices = useNotices();
  const [open, setOpen] = useState(false);
  const leave = async () => {
    try {
      await api.logout();
    } catch (error) {
      // Still signed in at the node: saying otherwise would be wrong.
      if (!isUnauthenticated(error)) {
        notices.failed("You are still signed in", error);
        return;
      }
    }
    ended(null);
  };
  return (
    <div className="sk-account">
      <Dropdown
        isOpen={open}
        onOpenChange={setOpen}
        onSelect={() => setOpen(false)}
        popperProps={{ position: "right" }}
        toggle={(ref) => (
          <MenuToggle
            ref={ref}
            variant="plainText"
            isExpanded={open}
            onClick={() => setOpen(!open)}
            aria-label={`Account ${username}`}
          >
            {username}
          </MenuToggle>
        )}
      >
        <DropdownList>
          <DropdownItem isDisabled description={`Signed in as ${role}`}>
            {username}
          </DropdownItem>
          <DropdownItem onClick={() => void leave()}>Sign out</DropdownItem>
        </DropdownList>
      </Dropdown>
    </div>
  );
}
