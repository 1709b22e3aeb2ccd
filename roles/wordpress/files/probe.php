<?php
// Prints what only WordPress itself knows, as one JSON object. Read-only.
// Usage, as the site's user: php probe.php SITE, where SITE is a service on Debian, whose
// wp-config.php includes /etc/wordpress/config-NAME.php (NAME is the request's host), or the folder
// of an installation, such as /var/www/wordpress.

if ($argc !== 2 || !preg_match('#\A([a-z][a-z0-9-]{0,30}|/var/www/[a-z0-9_-]+)\z#', $argv[1])) {
    fwrite(STDERR, "usage: php probe.php SITE\n");
    exit(64);
}
$folder = $argv[1][0] === '/' ? $argv[1] : '';
$_SERVER['HTTP_HOST'] = $_SERVER['SERVER_NAME'] = $folder === '' ? $argv[1] : 'localhost';
$_SERVER['REQUEST_URI'] = '/';
$_SERVER['REQUEST_METHOD'] = 'GET';
$_SERVER['HTTPS'] = 'on';
define('DISABLE_WP_CRON', true); // a look must not start the tasks it looks at
define('WP_USE_THEMES', false);

// Plugins may print; only our own line may reach stdout.
ob_start();
$root = $folder === '' ? '/usr/share/wordpress/' : "$folder/";
// WordPress answers an empty database with a redirect and exit, a dead one with wp_die: say so.
$done = false;
register_shutdown_function(function () use (&$done) {
    if (!$done) {
        $page = preg_replace('#<(style|script|head)\b.*?</\1>#si', ' ', (string) ob_get_clean());
        $said = trim(preg_replace('/\s+/', ' ', strip_tags((string) $page)));
        fwrite(STDERR, 'WordPress ended early: ' . substr($said, 0, 300) . "\n");
        exit(1);
    }
});
$maintenance = null;
if (is_file($root . '.maintenance')) {
    $maintenance = time() - filemtime($root . '.maintenance');
    // WordPress would stop here and show its notice.
    define('WP_INSTALLING', true);
}
require $root . 'wp-load.php';

$late = 0;
foreach (array_keys(_get_cron_array() ?: []) as $timestamp) {
    $late = max($late, time() - (int) $timestamp);
}
$outdated = [];
foreach (['update_plugins', 'update_themes'] as $transient) {
    $known = get_site_transient($transient);
    foreach (array_keys((array) ($known->response ?? [])) as $name) {
        $outdated[] = dirname($name) === '.' ? $name : dirname($name);
    }
}
$answer = json_encode([
    'installed' => (bool) is_blog_installed(),
    'maintenance_age_s' => $maintenance,
    'cron_late_s' => $late,
    'plugins_outdated' => array_values(array_unique($outdated)),
    'version' => get_bloginfo('version'),
    'home' => home_url(),
]);
while (ob_get_level() > 0) {
    ob_end_clean();
}
$done = true;
echo $answer, "\n";
