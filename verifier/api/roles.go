package api

import (
	"net/http"
	"slices"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
)

// rule says who may use an operation.
type rule struct {
	roles []v1.Role // nil: nobody, unless the route is open
	// seen: whoever reads it leaves an entry in the audit log. Every write leaves one anyway.
	seen bool
}

// Who may use an operation. The roles are those of v1.Role.
var (
	anybody    = []v1.Role{v1.Viewer, v1.Operator, v1.Vendor, v1.Auditor, v1.Admin} // every role; not strangers
	readers    = []v1.Role{v1.Viewer, v1.Operator, v1.Auditor, v1.Admin}            // who may see the fleet
	operators  = []v1.Role{v1.Operator, v1.Admin}
	publishers = []v1.Role{v1.Operator, v1.Vendor, v1.Admin} // a vendor's own, which the handler sees to
	auditors   = []v1.Role{v1.Auditor, v1.Admin}
	examiners  = []v1.Role{v1.Operator, v1.Auditor, v1.Admin} // of raw bytes from devices
	submitters = []v1.Role{v1.Vendor, v1.Admin}
	admins     = []v1.Role{v1.Admin}
)

// rules has every operation that is not open, by its id. One without a row is refused to everybody, and a test demands
// that rows and routes agree. Whoever adds a route adds its row here, with seen where it shows details of one device,
// evidence or bytes of one, or the outcome of a search or export.
var rules = map[string]rule{
	"get-me":          {roles: anybody},
	"end-session":     {roles: anybody},
	"change-password": {roles: anybody},

	"list-accounts":  {roles: admins},
	"create-account": {roles: admins},
	"change-account": {roles: admins},
	"remove-account": {roles: admins},

	"list-audit":   {roles: auditors, seen: true},
	"export-audit": {roles: auditors, seen: true},

	"list-tokens":  {roles: operators},
	"create-token": {roles: operators}, // one for the API: the handler wants an admin
	"revoke-token": {roles: operators}, // likewise

	"list-devices":       {roles: readers},
	"get-device":         {roles: readers, seen: true},
	"change-device":      {roles: operators},
	"remove-device":      {roles: operators},
	"approve-device":     {roles: operators},
	"attest-device":      {roles: operators},
	"bulk-devices":       {roles: operators},
	"get-bulk":           {roles: readers},
	"export-devices":     {roles: readers, seen: true},
	"get-fleet-summary":  {roles: readers},
	"list-clusters":      {roles: readers},
	"get-cluster":        {roles: readers},
	"get-fleet-history":  {roles: readers},
	"list-changes":       {roles: readers},
	"get-facets":         {roles: readers},
	"list-results":       {roles: readers, seen: true},
	"list-device-events": {roles: readers},
	"get-similar":        {roles: readers},
	"list-events":        {roles: readers},
	"get-counts":         {roles: readers},

	"create-capture":  {roles: operators},
	"list-captures":   {roles: readers},
	"get-capture":     {roles: readers},
	"get-capture-raw": {roles: examiners, seen: true},
	"remove-capture":  {roles: operators},

	"list-baselines":  {roles: readers},
	"create-baseline": {roles: operators},
	"retire-baseline": {roles: operators},

	"get-deny-list":  {roles: readers},
	"add-denial":     {roles: operators},
	"remove-denial":  {roles: operators},
	"list-sightings": {roles: readers, seen: true},

	"start-outliers": {roles: operators},
	"get-outliers":   {roles: readers},

	"list-manifests":     {roles: anybody}, // a vendor sees its own
	"get-manifest":       {roles: anybody}, // likewise
	"submit-manifest":    {roles: submitters},
	"withdraw-manifest":  {roles: submitters},
	"supersede-manifest": {roles: submitters},
	"start-dry-run":      {roles: publishers},
	"get-dry-run":        {roles: publishers},

	"get-manifest-coverage": {roles: readers},
	"list-approvals":        {roles: readers},
	"approve-manifest":      {roles: operators},

	"get-boot":        {roles: readers, seen: true},
	"get-files":       {roles: readers, seen: true},
	"get-flash":       {roles: readers, seen: true},
	"get-timeline":    {roles: readers, seen: true},
	"get-freshness":   {roles: readers, seen: true},
	"compare-devices": {roles: readers, seen: true},
	"get-evidence":    {roles: examiners, seen: true},
	"get-boot-log":    {roles: examiners, seen: true},
	"get-ima-list":    {roles: examiners, seen: true},
	"search":          {roles: readers, seen: true},

	"list-vendor-keys":  {roles: readers},
	"add-vendor-key":    {roles: admins},
	"scope-vendor-key":  {roles: admins},
	"revoke-vendor-key": {roles: admins},

	"get-policy":           {roles: readers},
	"list-policy-versions": {roles: readers},
	"set-policy":           {roles: admins},
	"test-policy":          {roles: operators},

	"get-settings":    {roles: readers},
	"change-settings": {roles: admins},

	"list-alert-rules":     {roles: readers},
	"add-alert-rule":       {roles: admins},
	"change-alert-rule":    {roles: admins},
	"remove-alert-rule":    {roles: admins},
	"list-alerts":          {roles: readers},
	"get-alert":            {roles: readers},
	"acknowledge-alert":    {roles: operators},
	"list-alert-channels":  {roles: examiners}, // their targets may be secrets in themselves
	"add-alert-channel":    {roles: admins},
	"change-alert-channel": {roles: admins},
	"remove-alert-channel": {roles: admins},
	"test-alert-channel":   {roles: admins},
	"list-deliveries":      {roles: examiners},
	"retry-delivery":       {roles: operators},

	"get-stream":  {roles: anybody}, // of a kind that the role may see
	"get-openapi": {roles: anybody},

	"check-gate":       {roles: readers},
	"check-gate-proxy": {roles: readers},

	"get-metrics": {roles: readers},
}

// may reports whether p may use an operation. A principal without a role may use none.
func (p *principal) may(operation string) bool {
	return p.role != "" && slices.Contains(rules[operation].roles, p.role)
}

// can returns the ids of all operations that p may use, in ascending order.
func (p *principal) can() []string {
	out := []string{}
	for id := range rules {
		if p.may(id) {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// permit refuses what the role of p does not include.
func permit(p *principal, operation string) error {
	if p.may(operation) {
		return nil
	}
	return problemf(http.StatusForbidden, "the role %s may not do this: ask an admin of the verifier", orNone(p.role))
}

func orNone(r v1.Role) string {
	if r == "" {
		return "of nobody"
	}
	return string(r)
}
