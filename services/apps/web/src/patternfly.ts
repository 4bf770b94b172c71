// The parts of PatternFly that this page uses. Each is taken from its own module: the package's index would
// bring the style sheets of all components along.

export { Alert, AlertActionCloseButton, AlertGroup } from "@patternfly/react-core/dist/dynamic/components/Alert";
export { Badge } from "@patternfly/react-core/dist/dynamic/components/Badge";
export { Banner } from "@patternfly/react-core/dist/dynamic/components/Banner";
export { Button } from "@patternfly/react-core/dist/dynamic/components/Button";
export { Card, CardBody, CardTitle } from "@patternfly/react-core/dist/dynamic/components/Card";
export { Content } from "@patternfly/react-core/dist/dynamic/components/Content";
export {
  DescriptionList,
  DescriptionListDescription,
  DescriptionListGroup,
  DescriptionListTerm,
} from "@patternfly/react-core/dist/dynamic/components/DescriptionList";
export { Divider } from "@patternfly/react-core/dist/dynamic/components/Divider";
export {
  Drawer,
  DrawerActions,
  DrawerCloseButton,
  DrawerContent,
  DrawerContentBody,
  DrawerHead,
  DrawerPanelBody,
  DrawerPanelContent,
} from "@patternfly/react-core/dist/dynamic/components/Drawer";
export { Dropdown, DropdownItem, DropdownList } from "@patternfly/react-core/dist/dynamic/components/Dropdown";
export {
  EmptyState,
  EmptyStateActions,
  EmptyStateBody,
  EmptyStateFooter,
} from "@patternfly/react-core/dist/dynamic/components/EmptyState";
export {
  ActionGroup,
  Form,
  FormFieldGroup,
  FormFieldGroupHeader,
  FormGroup,
  FormHelperText,
} from "@patternfly/react-core/dist/dynamic/components/Form";
export {
  FormSelect,
  FormSelectOption,
  FormSelectOptionGroup,
} from "@patternfly/react-core/dist/dynamic/components/FormSelect";
export { HelperText, HelperTextItem } from "@patternfly/react-core/dist/dynamic/components/HelperText";
export { Label } from "@patternfly/react-core/dist/dynamic/components/Label";
export {
  Masthead,
  MastheadBrand,
  MastheadContent,
  MastheadMain,
  MastheadToggle,
} from "@patternfly/react-core/dist/dynamic/components/Masthead";
export { MenuToggle } from "@patternfly/react-core/dist/dynamic/components/MenuToggle";
export { Modal, ModalBody, ModalFooter, ModalHeader } from "@patternfly/react-core/dist/dynamic/components/Modal";
export { Nav, NavItem, NavList } from "@patternfly/react-core/dist/dynamic/components/Nav";
export { Page, PageSection, PageSidebar, PageSidebarBody } from "@patternfly/react-core/dist/dynamic/components/Page";
export { Progress, ProgressVariant } from "@patternfly/react-core/dist/dynamic/components/Progress";
export { SkipToContent } from "@patternfly/react-core/dist/dynamic/components/SkipToContent";
export { Spinner } from "@patternfly/react-core/dist/dynamic/components/Spinner";
export { Switch } from "@patternfly/react-core/dist/dynamic/components/Switch";
export { Tab, TabTitleText, Tabs } from "@patternfly/react-core/dist/dynamic/components/Tabs";
export { TextArea } from "@patternfly/react-core/dist/dynamic/components/TextArea";
export { TextInput } from "@patternfly/react-core/dist/dynamic/components/TextInput";
export { Title } from "@patternfly/react-core/dist/dynamic/components/Title";
export { Bullseye } from "@patternfly/react-core/dist/dynamic/layouts/Bullseye";
export { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table/dist/dynamic/components/Table";
